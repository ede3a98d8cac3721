"""The data of a classification experiment: opened, cut, and ready to be normalised."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evoens.errors import ProblemError
from evoens.progress import OnCount, no_progress
from evoens.settings.classification import ClassificationSettings, SplitCuts
from evoens.tasks.data.images import Images
from evoens.tasks.data.layout import cuts_of, unlike_channels, without_pool
from evoens.tasks.data.pool import Pool, Source
from evoens.tasks.data.preprocessing import Normalise
from evoens.tasks.data.sources import open_source
from evoens.tasks.data.splits import MEASURED, Indices, check_split, cut, described

SPLITS = ("train", *MEASURED)
SHOWN = 20  # classes in a line
PUBLISHED = {"CIFAR10": "CIFAR-10-C", "CIFAR100": "CIFAR-100-C"}
"""The folders in the data root of corrupted test sets as published (Hendrycks & Dietterich 2019)."""


class _Splits(Mapping[str, Images]):
    """The four splits; a pool is read when the first of its splits is asked for."""

    def __init__(self, source: Source, settings: ClassificationSettings, seed: int) -> None:
        self.source, self.settings, self.seed = source, settings, seed
        self._cut: dict[str, Indices] = {}
        self._checked: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        return iter(SPLITS)

    def __len__(self) -> int:
        return len(SPLITS)

    def __getitem__(self, name: str) -> Images:
        indices, pool = self.indices(name), self.pool(name)
        places = torch.from_numpy(indices)
        return Images(pool.pixels, places, pool.labels[places])

    def origin(self, name: str) -> str:
        """Return which pool a split comes from."""
        origin: str = getattr(self.settings.splits, name).from_
        return origin

    def pool(self, name: str) -> Pool:
        """Return the pool that a split comes from."""
        origin = self.origin(name)
        if origin not in self.source.place.pools:
            wrong = f"problem.splits.{name}.from: {without_pool(self.source.place, origin, name)}"
            raise ProblemError(wrong, ("problem", "splits", name, "from"))
        return self.source.pool(origin)

    def indices(self, name: str) -> Indices:
        """Return where in its pool a split's images are."""
        if name not in SPLITS:
            raise KeyError(name)
        if name not in self._checked:
            pool = self.pool(name)
            labels, splits = pool.labels.numpy(), self.settings.splits
            if name not in self._cut:
                self._cut |= cut(splits, {self.origin(name): labels}, pool.classes, self.seed)
            check_split(name, self._cut[name], labels, pool.classes, splits.allow_missing)
            self._checked.add(name)
        return self._cut[name]


class Data:
    """Four disjoint splits of labelled images.

    Attributes:
        splits: the images by split; a pool is read when the first of its splits is asked for.
    """

    def __init__(self, source: Source, settings: ClassificationSettings, seed: int) -> None:
        self._source, self._settings = source, settings
        self._splits = _Splits(source, settings, seed)
        self.splits: Mapping[str, Images] = self._splits

    @property
    def _pool(self) -> Pool:
        """A pool that is open, or that of the search split, which every run needs."""
        opened = self._source.opened
        return self._source.pool(opened[0]) if opened else self._splits.pool("search")

    def counted(self) -> list[str]:
        """Return how many images each pool has, in all and of each class; all are opened, of a named set those in use.

        Raises:
            ProblemError: some cannot be read; the message names them.
        """
        place, lines = self._source.place, []
        for name in place.pools if place.kind != "named" else self._source.opened:
            pool = self._source.pool(name)
            counts = torch.bincount(pool.labels, minlength=len(pool.classes)).tolist()
            each = [f"{label} {count}" for label, count in zip(pool.classes, counts, strict=True)]
            shown = ", ".join(each[:SHOWN]) + (f", … {len(each) - SHOWN} more" if len(each) > SHOWN else "")
            shape = "×".join(map(str, pool.shape))
            lines.append(f"{place.name}, {name}: {len(pool)} images {shape} of {len(each)} classes ({shown})")
        return lines

    @property
    def notes(self) -> list[str]:
        """What the user should know of the data as far as they are read, such as what is not counted."""
        return self._source.notes

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes' names, in the order of the labels."""
        return self._pool.classes

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of every image."""
        return self._pool.shape

    @cached_property
    def normalise(self) -> Normalise:
        """From bytes to what the network takes: by the settings' numbers, else by those of the train split.

        Raises:
            ProblemError: the settings have another number of channels; or the train split cannot be read.
        """
        given = self._settings.normalise
        if given is None:
            return Normalise(*self.splits["train"].statistics())
        if len(given.mean) != self.shape[0]:
            said = unlike_channels("the images are", self.shape[0], len(given.mean))
            raise ProblemError(f"problem.normalise.mean: {said}", ("problem", "normalise", "mean"))
        return Normalise(given.mean, given.std)

    @property
    def published(self) -> Path | None:
        """The folder of the published corrupted images of this set, which need not be there; None where none are."""
        name = PUBLISHED.get(self._settings.data)
        return self._source.place.path / name if name else None

    def seen(self, splits: Mapping[str, Any], seed: int) -> dict[str, int]:
        """Return how many images of each split that is measured on belong to the train split of another cut.

        Args:
            splits: the other cut, as the YAML has it.
            seed: what drew it.
        """
        settings = self._settings.model_copy(update={"splits": SplitCuts.model_validate(splits)})
        other = _Splits(self._source, settings, seed)
        names = [name for name in MEASURED if self._splits.origin(name) == other.origin("train")]
        counts = {name: len(np.intersect1d(self._splits.indices(name), other.indices("train"))) for name in names}
        return {name: count for name, count in counts.items() if count}

    def describe(self, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Return what a run's folder is to say of the data, as JSON can hold it.

        Each split has its pool, the number of its images, in all and of each class, and their places in the pool (null
        where it is the whole pool) with their sha256.

        Args:
            names: the splits to describe; by default those whose pools are open by then. Where the same data must
                always give the same description, name them.
        """
        normalise = self.normalise
        if names is None:
            names = [name for pool in self._source.opened for name in cuts_of(self._settings.splits, pool)]
        splits = {name: self._describe(name) for name in SPLITS if name in names}
        return {
            "data": self._settings.data,
            "seed": self._splits.seed,
            "shape": list(self.shape),
            "classes": list(self.classes),
            "normalise": {"mean": list(normalise.mean), "std": list(normalise.std)},
            "splits": splits,
        }

    def _describe(self, name: str) -> dict[str, Any]:
        labels: Indices = np.asarray(self._splits.pool(name).labels)
        facts = described(self._splits.indices(name), labels, len(self.classes))
        return {"pool": self._splits.origin(name), **facts}


def open_data(
    settings: ClassificationSettings, root: str | None, seed: int, base: Path, told: OnCount = no_progress
) -> Data:
    """Return the data of an experiment; no image is read before it is needed.

    Args:
        settings: which data, how they are cut and shown.
        root: `data.root` of the YAML, the folder of the named sets (see `layout.data_root` for what None means).
        seed: draws which images each split gets.
        base: the YAML's folder, from which relative paths start; after it the working folder is tried.
        told: hears how many images of a pool are decoded.

    Raises:
        ProblemError: there are no such data.
    """
    return Data(open_source(settings, root, base, told), settings, seed)
