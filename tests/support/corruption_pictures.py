"""Test images, and how near an independent calculation must come."""

from __future__ import annotations

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from evoens.tasks.corruption.batch import Batch


def photos(n: int = 6, c: int = 3, h: int = 32, w: int = 32, seed: int = 0) -> np.ndarray:
    """Images with large soft shapes, some detail and full contrast, as photographs have: uint8 `(n, c, h, w)`."""
    rng = np.random.default_rng(seed)
    total = np.zeros((n, c, h, w))
    for sigma, weight in ((min(h, w) / 5, 1.0), (min(h, w) / 12, 0.6), (0.6, 0.25)):
        layer = gaussian_filter(
            rng.normal(size=(n, 1, h, w)) + 0.5 * rng.normal(size=(n, c, h, w)), (0, 0, sigma, sigma)
        )
        total += weight * layer / layer.std()
    low, high = total.min((1, 2, 3), keepdims=True), total.max((1, 2, 3), keepdims=True)
    return ((total - low) / (high - low) * 255).astype(np.uint8)


def photo_tensor(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(photos(*shape, seed=seed))


def batch(kind: str, pixels: np.ndarray, seed: int = 3, first: int = 0) -> Batch:
    return Batch(pixels, kind, seed, first)


def cut(unit: np.ndarray) -> np.ndarray:
    """Upstream's end of everything: `np.uint8(np.clip(x, 0, 1) * 255)`, in doubles."""
    return (np.clip(unit, 0, 1) * 255 + 1e-3).astype(np.uint8)


def assert_near(ours: np.ndarray, theirs: np.ndarray, equal: float = 0.995) -> None:
    """Equal but for one grey level here and there, where floats and doubles are cut on two sides of a level."""
    apart = np.abs(ours.astype(int) - theirs.astype(int))
    assert ours.dtype == np.uint8 and ours.shape == theirs.shape
    assert apart.max() <= 1 and (apart == 0).mean() >= equal, (apart.max(), (apart == 0).mean())
