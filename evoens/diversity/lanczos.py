"""Resize stacks of grey pictures to the bits of Pillow's Lanczos filter, by Pillow itself, four in one call."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

Pixels = npt.NDArray[np.uint8]


def resized(pictures: Pixels, height: int, width: int) -> Pixels:
    """Resize every picture to the bits of `Image.resize((width, height), Image.Resampling.LANCZOS)`.

    Pillow rounds between its passes over rows and columns, and which pass comes first depends on the size and on
    Pillow's version (13 begins with the columns of tall pictures, pull request 9549). So the filter is Pillow's own,
    whatever it does; four pictures go through it as the channels of one, each for itself.

    Args:
        pictures: grey levels `(n, h, w)`, no side 0.
        height: of the result, in pixels.
        width: of the result, in pixels.

    Returns:
        Grey levels `(n, height, width)`.
    """
    n, h, w = pictures.shape
    if (h, w) == (height, width):
        return pictures
    padded = np.pad(pictures, ((0, -n % 4), (0, 0), (0, 0)))
    fours = np.ascontiguousarray(padded.reshape(-1, 4, h, w).transpose(0, 2, 3, 1))
    found = np.stack([_four_resized(four, height, width) for four in fours])
    return found.transpose(0, 3, 1, 2).reshape(-1, height, width)[:n]


def _four_resized(four: Pixels, height: int, width: int) -> Pixels:
    """Resize the channels of `(h, w, 4)`, called CMYK because Pillow would mix those of RGBA."""
    h, w, _ = four.shape
    image = Image.frombuffer("CMYK", (w, h), four, "raw", "CMYK", 0, 1)
    return np.asarray(image.resize((width, height), Image.Resampling.LANCZOS))
