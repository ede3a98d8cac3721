"""Checks of a classification YAML's data that open no image and import nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from evoens.errors import ProblemError
from evoens.settings.classification import POOLS, ClassificationConfig, ClassificationSettings, Cut
from evoens.settings.fault import Fault
from evoens.tasks.data.layout import (
    CHANNELS,
    Place,
    arranged,
    cuts_of,
    data_root,
    imagenet_missing,
    locate,
    split_sizes,
    unlike_channels,
    without_pool,
)

_DATA = ("problem", "data")


def data_faults(config: ClassificationConfig, base: Path, trains: bool = False) -> Iterator[Fault]:
    """Yield what is wrong with the data a YAML names, as far as names and sizes of files tell.

    Args:
        config: the checked YAML.
        base: its folder, from which relative paths start.
        trains: a parent is trained.
    """
    settings, root = config.problem, data_root(config.data.root, base)
    try:
        place = locate(settings.data, root, base, settings.splits.allow_missing)
        if place.classes:
            arranged(place.classes, settings.classes, place.name, settings.splits.allow_missing)
    except ProblemError as error:
        yield Fault(error.keys or _DATA, str(error).removeprefix("problem.classes: "))
        return
    needed = _needed(config, trains)
    for pool in POOLS:
        cuts = {name: cut for name, cut in cuts_of(settings.splits, pool).items() if name in needed}
        yield from _pool_faults(place, pool, cuts, settings, root)
    yield from _named_faults(place, settings)


def _needed(config: ClassificationConfig, trains: bool) -> set[str]:
    """The splits that are surely opened: `train` only where something is learnt on it or measured."""
    learns = trains or config.tune is not None or config.problem.normalise is None
    return {"search", "select", "test"} | ({"train"} if learns else set())


def _pool_faults(
    place: Place, pool: str, cuts: Mapping[str, Cut], settings: ClassificationSettings, root: Path
) -> Iterator[Fault]:
    if pool not in place.pools:
        for name in cuts:
            keys = ("problem", "splits", name, "from")
            yield Fault(keys, f"expected a pool that there is: {without_pool(place, pool, name)}", (_DATA,))
        return
    if place.name == "ImageNet" and place.kind == "named" and cuts:
        missing = imagenet_missing(root, pool)
        if missing:
            yield Fault(_DATA, missing)
    if pool in place.sizes:
        yield from _size_faults(place.sizes[pool], pool, cuts_of(settings.splits, pool), set(cuts))


def _size_faults(total: int, pool: str, cuts: Mapping[str, Cut], needed: set[str]) -> Iterator[Fault]:
    try:
        split_sizes(cuts, total, pool, needed)
    except ProblemError as error:
        numbers = [("problem", "splits", name, "count") for name, cut in cuts.items() if cut.count is not None]
        yield Fault(numbers[-1], str(error), (*numbers[:-1], _DATA))


def _named_faults(place: Place, settings: ClassificationSettings) -> Iterator[Fault]:
    if place.kind != "named":
        return
    channels = settings.channels or CHANNELS[place.name]
    if settings.normalise and len(settings.normalise.mean) != channels:
        message = unlike_channels(f"{place.name} is", channels, len(settings.normalise.mean))
        yield Fault(("problem", "normalise", "mean"), message, (_DATA,))
    if place.name == "ImageNet" and settings.image_size is None:
        message = "missing; ImageNet's images differ in size: write image_size: 224 and resize: 256"
        yield Fault(("problem", "image_size"), message, (_DATA,), missing=True)
