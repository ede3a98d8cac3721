"""Blurs: out of focus, through frosted glass, in motion, while zooming, and by a Gaussian."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.ndimage import correlate, gaussian_filter

from evoens.tasks.corruption.batch import Batch, Bytes, Floats, grey_levels
from evoens.tasks.corruption.geometry import smear, zoomed


def gaussian(images: Floats, sigma: float) -> Floats:
    """Blur the last two axes, cut off at 4 sigma, the border going on (skimage's defaults)."""
    flat = images.reshape(-1, *images.shape[-2:])
    blurred: Floats = gaussian_filter(flat, (0, sigma, sigma), mode="nearest", truncate=4)
    return blurred.reshape(images.shape)


def gaussian_blur(batch: Batch, severity: int) -> Bytes:
    """Blur by a Gaussian of sigma 0.4 to 1 pixels of CIFAR."""
    return grey_levels(gaussian(batch.unit, (0.4, 0.6, 0.7, 0.8, 1.0)[severity - 1] * batch.scale))


def defocus_blur(batch: Batch, severity: int) -> Bytes:
    """Blur by a disk, its edge softened by a Gaussian: a lens out of focus."""
    radius, soft = ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1.0, 0.2), (1.5, 0.1))[severity - 1]
    kernel = disk(radius * batch.scale, soft * batch.scale)[None, None]
    blurred: Floats = correlate(batch.unit, kernel, mode="mirror")
    return grey_levels(blurred)


def disk(radius: float, soft: float) -> Floats:
    """Whole pixels within `radius`, averaged and softened: `(k, k)`, sum 1.

    The softening Gaussian is cut to 3 × 3 pixels, and to 5 × 5 where the radius is over 8.
    """
    reach, cut = int(radius), 1 if radius <= 8 else 2
    axis = np.arange(-reach - cut, reach + cut + 1)
    inside = (axis[:, None] ** 2 + axis**2 <= radius**2).astype(np.float64)
    bell = np.exp(-(np.arange(-cut, cut + 1) ** 2) / (2 * soft**2))
    softened = correlate(inside, np.outer(bell, bell), mode="constant")
    return np.asarray(softened / softened.sum(), dtype=np.float32)


def glass_blur(batch: Batch, severity: int) -> Bytes:
    """Blur, scatter pixels, blur again: frosted glass.

    Upstream means to swap each pixel with a neighbour, but swaps two views of one array, which only copies the
    neighbour into the pixel. CIFAR-10-C was made so. Its neighbours are at most 1 pixel up or left, not yet visited,
    so a pass is one look-up in the image before it. Where they are farther (sides over 63) that is our simplification.
    """
    sigma, reach, passes = ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2))[severity - 1]
    sigma, reach = sigma * batch.scale, int(reach * batch.scale)
    scattered = grey_levels(gaussian(batch.unit, sigma))
    for turn in range(passes):
        scattered = scatter(scattered, batch.words(f"scatter {turn}", 2, *batch.size), reach)
    return grey_levels(gaussian(scattered.astype(np.float32) / np.float32(255), sigma))


def scatter(pixels: Bytes, words: npt.NDArray[np.uint16], reach: int) -> Bytes:
    """Take each pixel from `−reach` to `reach − 1` rows and columns away; a frame of the image stays.

    Args:
        pixels: `(n, c, h, w)`.
        words: 16-bit, the rows' and the columns' draws, `(n, 2, h, w)`.
        reach: in pixels.
    """
    n, c, h, w = pixels.shape
    inner = np.zeros((h, w), dtype=bool)
    inner[reach + 1 : h - reach + 1, reach + 1 : w - reach + 1] = True
    steps = (words.astype(np.int32) * (2 * reach) >> 16) - reach
    steps *= inner
    source = np.arange(h * w).reshape(h, w) + steps[:, 0] * w + steps[:, 1]
    return np.take_along_axis(pixels.reshape(n, c, -1), source.reshape(n, 1, -1), axis=2).reshape(pixels.shape)


def motion_blur(batch: Batch, severity: int) -> Bytes:
    """Blur along a line between −45° and 45°: a moving camera."""
    radius, sigma = ((6, 1.0), (6, 1.5), (6, 2.0), (8, 2.0), (9, 2.5))[severity - 1]
    levels = batch.pixels.astype(np.float32)
    degrees = batch.uniforms("angle", -45, 45)
    return smear(levels, radius * batch.scale, sigma * batch.scale, degrees).astype(np.uint8)


def zoom_blur(batch: Batch, severity: int) -> Bytes:
    """Average the image and zooms of it in steps of 1 %: a camera that comes closer.

    Below a side of 16 the steps grow by `16/side`, since no zoom of up to 6 % moves a pixel in an image of 8.
    """
    end = (1.06, 1.11, 1.16, 1.21, 1.26)[severity - 1]
    n, c, h, w = batch.pixels.shape
    average = _zooms(h, w, end)
    columns = np.ascontiguousarray(batch.unit.reshape(n * c, h * w).T)
    blurred: Floats = average @ columns
    return grey_levels(np.ascontiguousarray(blurred.T).reshape(n, c, h, w))


@lru_cache(maxsize=2)
def _zooms(h: int, w: int, end: float) -> sparse.csr_array:
    """The average of the image and its zooms as one sparse matrix on its pixels, `(h·w, h·w)`, float32."""
    factors = 1 + (np.arange(1, end, 0.01) - 1) * max(1.0, 16 / min(h, w))
    total = sparse.eye_array(h * w, format="csr")
    for factor in factors.tolist():
        total = total + sparse.kron(_interpolation(h, factor), _interpolation(w, factor), format="csr")
    return (total / (len(factors) + 1)).astype(np.float32).tocsr()


def _interpolation(size: int, factor: float) -> sparse.csr_array:
    position = zoomed(size, factor)
    low = np.minimum(position.astype(int), size - 2)
    weights = np.concatenate([low + 1 - position, position - low])
    places = np.tile(np.arange(size), 2), np.concatenate([low, low + 1])
    return sparse.csr_array((weights, places), shape=(size, size))
