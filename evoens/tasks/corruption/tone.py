"""Corruptions of each pixel by itself: noise of four kinds, brightness, contrast, saturation."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.special import pdtr

from evoens.tasks.corruption.batch import HAIR, Batch, Bytes, grey_levels


def gaussian_noise(batch: Batch, severity: int) -> Bytes:
    """Add normal noise to each value: the sensor in low light."""
    sigma = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
    return grey_levels(batch.unit + batch.normals("noise", *batch.pixels.shape[1:]) * np.float32(sigma))


def speckle_noise(batch: Batch, severity: int) -> Bytes:
    """Add normal noise in proportion to each value."""
    sigma = (0.06, 0.1, 0.12, 0.16, 0.2)[severity - 1]
    unit = batch.unit
    return grey_levels(unit + unit * batch.normals("noise", *batch.pixels.shape[1:]) * np.float32(sigma))


def shot_noise(batch: Batch, severity: int) -> Bytes:
    """Count photons, a Poisson number with mean `photons` for white."""
    photons = (500, 250, 100, 75, 50)[severity - 1]
    drawn = batch.words("noise", *batch.pixels.shape[1:])
    counted: Bytes = shot_table(photons)[batch.pixels.astype(np.int32) << 16 | drawn]
    return counted


@lru_cache(maxsize=1)  # 16 MB each, and whoever goes through the severities needs one at a time
def shot_table(photons: int) -> Bytes:
    """The grey level of each Poisson quantile `(w + ½)/65536`: flat, at `pixel · 65536 + w`.

    With 256 possible means the whole of `min(Poisson(mean)/photons, 1)` fits in a table: one look-up a value,
    and each takes one word of the stream, which rejection sampling would not.
    """
    counts = np.arange(photons + 1)
    means = np.arange(256)[:, None] / 255 * photons
    below = np.floor(pdtr(counts, means) * 65536 + 0.5).astype(np.int64)  # words at or under each count
    below[:, -1] = 65536  # more photons than white holds are white
    levels = np.floor(counts / photons * 255 + HAIR).astype(np.uint8)
    return np.repeat(np.tile(levels, 256), np.diff(below, axis=1, prepend=0).ravel())


def impulse_noise(batch: Batch, severity: int) -> Bytes:
    """Replace a fraction of the values by black or white, as often one as the other (salt and pepper)."""
    amount = (0.01, 0.02, 0.03, 0.05, 0.07)[severity - 1]
    drawn = batch.words("noise", *batch.pixels.shape[1:])
    pepper, struck = round(amount / 2 * 65536), round(amount * 65536)
    return np.where(drawn < struck, np.where(drawn < pepper, 0, 255), batch.pixels).astype(np.uint8)


def brightness(batch: Batch, severity: int) -> Bytes:
    """Raise the V of HSV; hue and saturation stay, so all channels grow by the same factor.

    Black has neither hue nor saturation and becomes grey.
    """
    rise = (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]
    unit = batch.unit
    value = unit.max(axis=1, keepdims=True)
    brighter = np.minimum(value + np.float32(rise), 1)
    black = value == 0
    return grey_levels(np.where(black, brighter, unit * (brighter / np.where(black, 1, value))))


def contrast(batch: Batch, severity: int) -> Bytes:
    """Pull each channel towards its mean over the image."""
    kept = (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1]
    totals = batch.pixels.sum(axis=(2, 3), keepdims=True, dtype=np.int64)  # exact in any order
    means = (totals / (255 * batch.size[0] * batch.size[1])).astype(np.float32)
    return grey_levels((batch.unit - means) * np.float32(kept) + means)


def saturate(batch: Batch, severity: int) -> Bytes:
    """Stretch and shift the S of HSV; hue and value stay.

    Grey pixels have hue 0, so that a shift reddens them. Images of one channel have no saturation: unchanged.
    """
    stretch, shift = ((0.3, 0.0), (0.1, 0.0), (1.5, 0.0), (2.0, 0.1), (2.5, 0.2))[severity - 1]
    if batch.pixels.shape[1] == 1:
        return batch.pixels.copy()
    unit = batch.unit
    value = unit.max(axis=1, keepdims=True)
    below = value - unit  # V·S·(how far the channel is from the largest)
    chroma = below.max(axis=1, keepdims=True)
    saturation = chroma / np.where(value == 0, 1, value)
    target = np.minimum(saturation * np.float32(stretch) + np.float32(shift), 1)
    red = np.array([0, 1, 1], dtype=np.float32).reshape(1, 3, 1, 1) * value
    relative = np.where(chroma == 0, red, below / np.where(saturation == 0, 1, saturation))
    return grey_levels(value - relative * target)
