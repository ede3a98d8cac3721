"""Perceptual hashes of pictures, and the share of bits in which the members' pictures differ (dissertation 7.2)."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType

import imagehash
import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from evoens.errors import ShapeError

Pixels = npt.NDArray[np.uint8]

HASHES: MappingProxyType[str, Callable[[Image.Image], imagehash.ImageHash]] = MappingProxyType(
    {
        "average": imagehash.average_hash,
        "perceptual": imagehash.phash,
        "difference": imagehash.dhash,
        "wavelet": lambda image: imagehash.whash(image, image_scale=64),  # else the scale follows the picture's size
        "colour": lambda image: imagehash.colorhash(image, binbits=4),
    }
)
"""The five hashes by name: 64 bits each, but 56 for colour."""


def hash_bits(pictures: Pixels) -> dict[str, Tensor]:
    """Hash every picture with each of the five hashes.

    Args:
        pictures: RGB, `(…, h, w, 3)` uint8.

    Returns:
        By hash, its bits: bool `(…, bits)`.
    """
    if pictures.dtype != np.uint8 or pictures.ndim < 3 or pictures.shape[-1] != 3:
        raise ShapeError(f"pictures: expected uint8 (…, h, w, 3), found {pictures.dtype} {pictures.shape}")
    images = [Image.fromarray(p) for p in pictures.reshape(-1, *pictures.shape[-3:])]
    return {
        name: torch.from_numpy(np.stack([hashed(i).hash.ravel() for i in images])).view(*pictures.shape[:-3], -1)
        for name, hashed in HASHES.items()
    }


def pairwise_bits(a: Tensor, b: Tensor) -> Tensor:
    """Share of bits in which a_i and b_j differ, averaged over pictures: the Hamming distance over the hash's length.

    Args:
        a: bits `(k, n, bits)` of k members' n pictures.
        b: bits of the same shape.

    Returns:
        `(k, k)` float64, 0 to 1.
    """
    if a.dim() != 3 or a.shape != b.shape:
        raise ShapeError(f"bits: expected two of shape (k, n, bits), found {tuple(a.shape)} and {tuple(b.shape)}")
    x, y = (bits.flatten(1).double() for bits in (a, b))
    return torch.cdist(x, y, p=1) / x.shape[1]
