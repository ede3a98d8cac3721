"""Labelled images in batches, and those that are there more than once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import Self

from evoens import noise
from evoens.problem import evenly

BLOCK = 1 << 26  # bytes looked at in one go
HASHED = 1 << 30  # bytes of pixels that are hashed, in a second or two


@dataclass(frozen=True, eq=False)
class Images:
    """A split: the images of a pool at `places`, of which none is copied before it is asked for.

    Attributes:
        pixels: `(m, c, h, w)` uint8, the whole pool's, perhaps mapped from a file; bytes in the order h, w, c.
        places: `(n,)` int64, ascending, where in the pool these images are.
        labels: `(n,)` int64, their classes.
    """

    pixels: Tensor
    places: Tensor
    labels: Tensor

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.places)

    def take(self, which: Tensor) -> Tensor:
        """Return the images at `which` `(k,)` of these, `(k, c, h, w)` uint8, channels last in memory."""
        _, channels, height, width = self.pixels.shape
        rows = self.pixels.permute(0, 2, 3, 1).reshape(len(self.pixels), -1)  # a view: a row is an image's bytes
        return rows.index_select(0, self.places[which]).view(-1, height, width, channels).permute(0, 3, 1, 2)

    def part(self, first: int, count: int) -> Self:
        """Return `count` of these images from the `first`-th on, as far as they reach."""
        return replace(self, places=self.places[first : first + count], labels=self.labels[first : first + count])

    def spread(self, n: int) -> Self:
        """Return at most `n` of these images, evenly spread over them."""
        some = evenly(len(self), n)
        return replace(self, places=self.places[some], labels=self.labels[some])

    def all(self) -> Tensor:
        """Return all images, as `take` does."""
        return self.take(torch.arange(len(self)))

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield all images in order, `(k, c, h, w)` uint8, and their labels `(k,)`; k is `size`, at the end less."""
        for which in torch.split(torch.arange(len(self)), size):
            yield self.take(which), self.labels[which]

    def shuffled(self, size: int, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield as `batches` does, in an order that only `seed` and `epoch` decide, on every machine."""
        for which in torch.split(shuffled(len(self), seed, epoch), size):
            yield self.take(which), self.labels[which]

    def sha256(self) -> str:
        """Return the sha256 of labels and pixels; where they are more than `HASHED` bytes, of evenly spread images."""
        digest = hashlib.sha256(
            f"{len(self)} × {tuple(self.pixels.shape[1:])}".encode() + self.labels.numpy().tobytes()
        )
        size = math.prod(self.pixels.shape[1:])
        for images, _ in self.spread(max(1, HASHED // size)).batches(max(1, BLOCK // size)):
            digest.update(self.bytes_of(images))
        return digest.hexdigest()

    def bytes_of(self, images: Tensor) -> bytes:
        """Return the bytes of what `take` gave, in their order."""
        return images.permute(0, 2, 3, 1).contiguous().numpy().tobytes()

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation of each channel over all images, a byte counting from 0 to 1.

        Exact but for the last rounding. The deviation of a channel that never changes is given as 1.
        """
        _, channels, height, width = self.pixels.shape
        seen = np.zeros((channels, 256), np.int64)
        for images, _ in self.batches(max(1, BLOCK // (channels * height * width))):
            for channel in range(channels):
                values = images[:, channel].reshape(-1)
                seen[channel] += torch.bincount(values, minlength=256).numpy()
        moments = [_moments(counts.tolist()) for counts in seen]
        return tuple(mean for mean, _ in moments), tuple(std or 1.0 for _, std in moments)


def _moments(counts: Sequence[int]) -> tuple[float, float]:
    """Mean and deviation of bytes, divided by 255; `counts[b]` of them are b. Python's integers have no limit."""
    n = sum(counts)
    one = sum(byte * count for byte, count in enumerate(counts))
    two = sum(byte * byte * count for byte, count in enumerate(counts))
    return one / (255 * n), math.sqrt((n * two - one * one) / (255 * n) ** 2)


def shuffled(count: int, seed: int, epoch: int) -> Tensor:
    """Return 0 to `count − 1` in an order `(count,)` that only `seed` and `epoch` decide, on every machine."""
    keys = noise.words(seed, f"order:{epoch}", 4 * count).view(np.uint64)
    return torch.from_numpy(np.argsort(keys, kind="stable"))


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
