"""Corruptions of images, five severities of each: cAcc, cNLL and cECE are measured on what they leave.

`KINDS` and `EXTRA` are those of CIFAR-10-C (Hendrycks and Dietterich 2019) with the constants it was made with; `DRE`
are four of ImageNet-C̄ (Mintun et al. 2021). At 32 × 32 pixels in colour the definitions are upstream's; lengths in
pixels grow with larger images, and stay in smaller ones (`Batch.scale`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from evoens.errors import ProblemError, ShapeError, nearest
from evoens.tasks.corruption.batch import Batch, Bytes
from evoens.tasks.corruption.blur import defocus_blur, gaussian_blur, glass_blur, motion_blur, zoom_blur
from evoens.tasks.corruption.digital import elastic_transform, jpeg_compression, pixelate
from evoens.tasks.corruption.drops import spatter
from evoens.tasks.corruption.tone import (
    brightness,
    contrast,
    gaussian_noise,
    impulse_noise,
    saturate,
    shot_noise,
    speckle_noise,
)
from evoens.tasks.corruption.unlike import checkerboard, lines, plasma, water_drop
from evoens.tasks.corruption.weather import fog, frost, snow

Corruption = Callable[[Batch, int], Bytes]

_NOISE: tuple[Corruption, ...] = (gaussian_noise, shot_noise, impulse_noise)
_BLUR: tuple[Corruption, ...] = (defocus_blur, glass_blur, motion_blur, zoom_blur)
_WEATHER: tuple[Corruption, ...] = (snow, frost, fog, brightness)
_DIGITAL: tuple[Corruption, ...] = (contrast, elastic_transform, pixelate, jpeg_compression)
_EXTRA: tuple[Corruption, ...] = (speckle_noise, gaussian_blur, spatter, saturate)
_DRE: tuple[Corruption, ...] = (plasma, checkerboard, water_drop, lines)


def _names(corruptions: tuple[Corruption, ...]) -> tuple[str, ...]:
    return tuple(corruption.__name__ for corruption in corruptions)


KINDS: tuple[str, ...] = _names(_NOISE + _BLUR + _WEATHER + _DIGITAL)
EXTRA: tuple[str, ...] = _names(_EXTRA)
DRE: tuple[str, ...] = _names(_DRE)

_BY_NAME = {corruption.__name__: corruption for corruption in _NOISE + _BLUR + _WEATHER + _DIGITAL + _EXTRA + _DRE}
_SMALLEST = 8  # pixels; below, blurs and blocks are as large as the image
_AT_ONCE = 1 << 18  # values of a block: its floats, 1 MB, stay in the cache


def corrupt(images: Tensor, kind: str, severity: int, seed: int, first: int = 0) -> Tensor:
    """Corrupt each image: a new tensor of the same shape, dtype and device.

    What becomes of an image depends on it, its place, the kind, the severity and the seed; not on the batch it is in,
    nor on the global random state. The severities of one kind share their draws.

    Args:
        images: uint8 `(n, c, h, w)`, c 1 or 3, h and w at least 8.
        kind: one of `KINDS`, `EXTRA` and `DRE`.
        severity: 1 to 5.
        seed: of all draws, 0 to 2⁶⁴ − 1.
        first: the place of `images[0]` in its data set, so that parts of it are corrupted as the whole would be.

    Raises:
        ShapeError: the images have another shape.
        ProblemError: the kind, severity, seed, place or dtype is not one of these.
    """
    corruption = _checked(images, kind, severity, seed, first)
    pixels = np.ascontiguousarray(images.detach().cpu().numpy())
    out = np.empty_like(pixels)
    block = max(1, _AT_ONCE // max(1, pixels[:1].size))
    for start in range(0, len(pixels), block):
        part = slice(start, start + block)
        out[part] = corruption(Batch(pixels[part], kind, int(seed), int(first) + start), severity)
    return torch.from_numpy(out).to(images.device)


def _checked(images: Tensor, kind: str, severity: int, seed: int, first: int) -> Corruption:
    if kind not in _BY_NAME:
        raise ProblemError(f'kind: expected one of {", ".join(_BY_NAME)}, found "{kind}"{nearest(kind, _BY_NAME)}')
    if not isinstance(severity, int) or severity not in range(1, 6):
        raise ProblemError(f"severity: expected 1 to 5, found {severity!r}")
    if seed not in range(1 << 64):
        raise ProblemError(f"seed: expected 0 to 2⁶⁴ − 1, found {seed!r}")
    if first < 0:
        raise ProblemError(f"first: expected a place from 0 on, found {first!r}")
    if images.dtype != torch.uint8:
        raise ProblemError(f"images: expected dtype torch.uint8, found {images.dtype}")
    shape = tuple(images.shape)
    if len(shape) != 4 or shape[1] not in {1, 3} or min(shape[2:]) < _SMALLEST:
        raise ShapeError(f"images: expected shape (n, 1 or 3, h, w), h and w at least {_SMALLEST}, found {shape}")
    return _BY_NAME[kind]
