"""Where the pixels of a corrupted image come from: bilinear warps, zooms, and a blur along a line."""

from __future__ import annotations

from math import ceil

import numpy as np
import numpy.typing as npt

from evoens.tasks.corruption.batch import Floats


def warp(images: Floats, rows: Floats, columns: Floats) -> Floats:
    """Look images up between their pixels (bilinear).

    Args:
        images: `(n, c, h, w)`.
        rows: of each output pixel, from 0 to h − 1, `(n, h', w')`.
        columns: likewise, from 0 to w − 1.

    Returns:
        `(n, c, h', w')`.
    """
    n, c, h, w = images.shape
    top, left = np.minimum(rows.astype(np.intp), h - 2), np.minimum(columns.astype(np.intp), w - 2)
    down, right = (rows - top).astype(np.float32)[:, None], (columns - left).astype(np.float32)[:, None]
    corner = (top * w + left)[:, None] + (np.arange(n * c) * (h * w)).reshape(n, c, 1, 1)
    flat = np.ascontiguousarray(images).ravel()
    upper = _between(flat[corner], flat[corner + 1], right)
    lower = _between(flat[corner + w], flat[corner + (w + 1)], right)
    return _between(upper, lower, down)


def _between(a: Floats, b: Floats, t: Floats) -> Floats:
    return a + (b - a) * t


def mirror(position: Floats, size: int) -> Floats:
    """Fold positions back at the centres of the border pixels (dcb|abcd|cba, OpenCV's reflect-101)."""
    folded: Floats = np.mod(np.abs(position), 2 * size - 2)
    return np.minimum(folded, (2 * size - 2) - folded)


def reflect(position: Floats, size: int) -> Floats:
    """Fold positions back at the border (cba|abcd|dcb, SciPy's reflect)."""
    folded: Floats = np.mod(np.abs(position + np.float32(0.5)), 2 * size)
    return np.clip(np.minimum(folded, 2 * size - folded) - np.float32(0.5), 0, size - 1)


def zoomed(size: int, factor: float) -> npt.NDArray[np.float64]:
    """Where the `size` pixels of an axis zoomed about its middle come from, `(size,)`, as upstream's clipped zoom.

    A whole number of pixels is cut out, stretched to a whole number with its end pixels on the new ends, and cropped.
    """
    cut = ceil(size / factor)
    stretched = round(cut * factor)
    start, trim = (size - cut) // 2, (stretched - size) // 2
    step = (cut - 1) / (stretched - 1)
    return np.asarray(start + np.minimum((np.arange(size) + trim) * step, cut - 1), dtype=np.float64)


def smear(levels: Floats, radius: float, sigma: float, degrees: Floats) -> Floats:
    """Blur along a line by half a Gaussian: ImageMagick's motion blur, rounded to grey levels as it rounds.

    Args:
        levels: grey levels 0 to 255, `(n, c, h, w)`; beyond the border its pixels go on.
        radius: in pixels; `2⌈radius⌉ + 1` pixels are averaged.
        sigma: of the Gaussian, in pixels.
        degrees: direction of each image's line, `(n,)`; 0 looks to the right, 90 downwards.
    """
    h, w = levels.shape[2:]
    taps = np.arange(2 * ceil(radius) + 1)
    kernel = np.exp(-(taps**2) / (2 * sigma**2))
    weights = (kernel / kernel.sum()).astype(np.float32)
    angle = np.radians(degrees.astype(np.float64))[:, None]
    pad = taps.size
    downs = pad + np.ceil(taps * np.sin(angle) - 0.5).astype(int)
    rights = pad + np.ceil(taps * np.cos(angle) - 0.5).astype(int)
    padded = np.pad(levels, ((0, 0), (0, 0), (pad, pad), (pad, pad)), mode="edge")
    out = np.zeros_like(levels)
    for i, wide in enumerate(padded):
        sums = out[i]
        for weight, y, x in zip(weights, downs[i].tolist(), rights[i].tolist(), strict=True):
            sums += weight * wide[:, y : y + h, x : x + w]
    out += np.float32(0.5)
    return np.floor(out, out=out)
