"""Labelled examples in batches, as a training is given them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from torch import Tensor

from evoens.tasks.data.images import Images, shuffled
from evoens.tasks.data.preprocessing import augmented

DRAWN = -1  # in the place of an epoch: whose order says which examples a share has


@dataclass(frozen=True)
class Examples:
    """Labelled images to learn from.

    Attributes:
        images: of the train split.
        normalise: from bytes to what the network takes.
        augment: of `crop` and `flip`, what each batch goes through.
    """

    images: Images
    normalise: Callable[[Tensor], Tensor]
    augment: tuple[str, ...] = ()

    def batches(self, size: int, seed: int, epoch: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield an epoch's inputs `(m, c, h, w)` float32 and their classes `(m,)`, decided by `seed` and `epoch` alone.

        A last batch of one is left out: BatchNorm has no statistics of it.
        """
        crop, flip = "crop" in self.augment, "flip" in self.augment
        for place, (pixels, labels) in enumerate(self.images.shuffled(size, seed, epoch)):
            if len(labels) > 1 or size == 1 or place == 0:
                seen = augmented(pixels, seed, epoch, place, crop=crop, flip=flip) if self.augment else pixels
                yield self.normalise(seen), labels

    def steps(self, size: int) -> int:
        """Return how many batches an epoch has."""
        whole, rest = divmod(len(self.images), size)
        return whole + (rest > 1 or not whole)

    def drawn(self, share: float, seed: int) -> Examples:
        """Return a share of these, drawn without replacement by `seed` alone."""
        own, count = self.images, max(1, round(share * len(self.images)))
        some = shuffled(len(own), seed, DRAWN)[:count].sort().values
        return replace(self, images=replace(own, places=own.places[some], labels=own.labels[some]))
