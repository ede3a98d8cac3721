"""What a data set is made of: pools of labelled images, opened when they are first needed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from torch import Tensor

from evoens.errors import ProblemError
from evoens.tasks.data.layout import Place


@dataclass(frozen=True, eq=False)
class Pool:
    """Images `(n, c, h, w)` uint8, each one's bytes in the order h, w, c, and their classes `(n,)` int64.

    `notes` say what was there and is not among them.
    """

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        """How many images there are."""
        return len(self.labels)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        _, channels, height, width = self.pixels.shape
        return channels, height, width


class Source:
    """A data set: a pool is read when it is first asked for, since ImageNet's train pool may not even be there.

    Args:
        place: where the data are, and which pools they have.
        read: reads the pool of that name.

    Attributes:
        notes: what the user should know of the data, such as what is not counted; each has been said as a warning.
    """

    def __init__(self, place: Place, read: Callable[[str], Pool]) -> None:
        self.place, self._read = place, read
        self._pools: dict[str, Pool] = {}
        self.notes: list[str] = []
        self._note(place.notes)

    def _note(self, notes: Iterable[str]) -> None:
        """Keep what the user should know of the data, and say it."""
        self.notes += notes
        for note in notes:
            warnings.warn(note, stacklevel=2)

    @property
    def opened(self) -> tuple[str, ...]:
        """The pools that have been read."""
        return tuple(self._pools)

    def pool(self, name: str) -> Pool:
        """Return the pool `name`, which is one of the place's.

        Raises:
            ProblemError: it cannot be read, or does not match the other pool.
        """
        if name not in self._pools:
            pool = self._read(name)
            for other, before in self._pools.items():
                _check_same(self.place.name, {other: before, name: pool})
            self._pools[name] = pool
            self._note(pool.notes)
        return self._pools[name]


def _check_same(data: str, pools: dict[str, Pool]) -> None:
    (one, first), (two, second) = pools.items()
    if first.shape != second.shape:
        advice = "; `channels` in the YAML reads all alike" if first.shape[0] != second.shape[0] else ""
        expected = f"expected {two} images of {first.shape}, as those of {one}"
        raise ProblemError(f"{data}: {expected}, found {second.shape}{advice}")
    if first.classes != second.classes:
        raise ProblemError(f"{data}: expected the classes of {one} in {two}, found others")
