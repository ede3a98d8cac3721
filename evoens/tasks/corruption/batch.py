"""A batch to corrupt: its pixels, and draws that depend on an image's place in its data set, not on the batch."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import numpy.typing as npt

from evoens import noise

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

HOME = 32  # side of CIFAR's images, for which the constants were chosen
HAIR = 2.0**-10  # grey levels: a value that is 128 but for rounding is cut to 128, in every order of summation


@dataclass(frozen=True, slots=True)
class Batch:
    """Images that lie side by side in a data set.

    Args:
        pixels: `(n, c, h, w)`, c 1 or 3.
        kind: the corruption, which names the streams its numbers come from.
        seed: of all draws.
        first: the place of the first image in its data set.
    """

    pixels: Bytes
    kind: str
    seed: int
    first: int

    @property
    def unit(self) -> Floats:
        """The pixels from 0 to 1."""
        return self.pixels.astype(np.float32) / np.float32(255)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.pixels.shape[2], self.pixels.shape[3]

    @property
    def side(self) -> int:
        """The shorter of height and width, in pixels."""
        return min(self.size)

    @property
    def scale(self) -> float:
        """What lengths given in CIFAR's pixels are multiplied by: `side/32`, and 1 for smaller images.

        A blur of 0.4 pixels is none in an image of 224, and a blur of 0.1 pixels is none in one of 8.
        """
        return max(1.0, self.side / HOME)

    def words(self, what: str, *shape: int) -> npt.NDArray[np.uint16]:
        """Draw 16-bit words for the quantity `what`: `(n, *shape)`, one Philox stream per image."""
        out = np.empty((len(self.pixels), prod(shape)), dtype=np.uint16)
        for i, row in enumerate(out):
            row[:] = noise.words(self.seed, self._stream(what, i), row.size)
        return out.reshape(-1, *shape)

    def uniforms(self, what: str, low: float, high: float, *shape: int) -> Floats:
        """Draw uniform numbers between `low` and `high`: `(n, *shape)`, resolved to 1/65536 of the range."""
        steps = self.words(what, *shape).astype(np.float32) + np.float32(0.5)
        return steps * np.float32((high - low) / 65536) + np.float32(low)

    def normals(self, what: str, *shape: int) -> Floats:
        """Draw standard normal numbers: `(n, *shape)`."""
        out = np.empty((len(self.pixels), *shape), dtype=np.float32)
        for i in range(len(out)):
            out[i] = noise.normals(self.seed, self._stream(what, i), shape).numpy()
        return out

    def _stream(self, what: str, i: int) -> str:
        return f"corruption:{self.kind}:{what}:{self.first + i}"


def grey_levels(unit: Floats) -> Bytes:
    """Cut values of 0 to 1 to the grey level below, as `np.uint8` does upstream; those outside are clipped."""
    levels = unit * np.float32(255)
    levels += np.float32(HAIR)
    return np.clip(levels, 0, 255, out=levels).astype(np.uint8)


def luma(images: Floats) -> Floats:
    """Grey of `(n, c, h, w)`, by ITU-R BT.601 where there are three channels: `(n, 1, h, w)`."""
    if images.shape[1] == 1:
        return images
    red, green, blue = (images[:, k : k + 1] for k in range(3))
    grey: Floats = red * np.float32(0.299) + green * np.float32(0.587) + blue * np.float32(0.114)
    return grey


def tint(red: float, green: float, blue: float, channels: int) -> Floats:
    """A colour (0 to 1 each), or its grey for one channel: `(1, channels, 1, 1)`."""
    colour = np.array([red, green, blue], dtype=np.float32).reshape(1, 3, 1, 1)
    return colour if channels == 3 else luma(colour)
