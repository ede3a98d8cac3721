"""Pictures that are there more than once: equal pixels, in two splits or in what a parent has learnt on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from evoens.tasks.data.images import Images

_MIDDLE = 256  # bytes by which pictures are told apart before all of their bytes are looked at
_FEWEST = 16  # bytes of a picture; points are often equal by chance


def digest(pixels: bytes) -> bytes:
    """Return by what equal pixels of one shape are known; these are bytes in the order h, w, c."""
    return hashlib.blake2b(pixels, digest_size=16).digest()


def digests(images: Images, which: torch.Tensor | None = None) -> list[bytes]:
    """Return the digest of each image, or of those at `which` `(k,)` of them."""
    places = torch.arange(len(images)) if which is None else which
    found = (images.take(torch.tensor([place]))[0] for place in places.tolist())
    return [digest(image.permute(1, 2, 0).numpy().tobytes()) for image in found]


def repeated(splits: Mapping[str, Images]) -> dict[str, int]:
    """Return how many images of each split have the pixels of one in a split before it; only splits that have some."""
    if next(iter(splits.values())).pixels[0].numel() < _FEWEST:
        return {}
    owners = np.repeat(np.arange(len(splits)), [len(images) for images in splits.values()])
    _, kinds, counts = np.unique(
        np.concatenate([_middles(images) for images in splits.values()]), return_inverse=True, return_counts=True
    )
    perhaps = counts[kinds.reshape(-1)] > 1
    first: dict[bytes, int] = {}
    found: dict[str, int] = {}
    for number, (name, images) in enumerate(splits.items()):
        for key in digests(images, torch.from_numpy(np.flatnonzero(perhaps[owners == number]))):
            if first.setdefault(key, number) < number:
                found[name] = found.get(name, 0) + 1
    return found


def _middles(images: Images) -> NDArray[np.void]:
    """The bytes in the middle of each image, `(n,)`: hardly ever equal where the images are not."""
    rows = images.pixels.permute(0, 2, 3, 1).reshape(len(images.pixels), -1).numpy()  # a view
    size = min(_MIDDLE, rows.shape[1])
    start = (rows.shape[1] - size) // 2
    return np.ascontiguousarray(rows[:, start : start + size][images.places.numpy()]).view(f"V{size}")[:, 0]
