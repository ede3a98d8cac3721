"""Open a data set: a named one, a folder of images, or an `.npz` file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch

from evoens.progress import Told, unheard
from evoens.settings.classification import ClassificationSettings
from evoens.tasks.data.arrays import npz_reader
from evoens.tasks.data.classes import arranged
from evoens.tasks.data.decode import Look
from evoens.tasks.data.folder import read_folder
from evoens.tasks.data.layout import Place, data_root, locate, user_cache
from evoens.tasks.data.named import read_named
from evoens.tasks.data.pool import Pool, Source

CACHE = ".evoens-cache"


def open_source(settings: ClassificationSettings, root: str | None, base: Path, told: Told = unheard) -> Source:
    """Return the data set of the settings; its pools are read when they are first asked for.

    Args:
        settings: which set, and how its images are to be shown.
        root: the folder of the named sets; None for the environment's, or the default (see `data_root`).
        base: the folder from which relative paths start.
        told: hears how many images of a pool are decoded.

    Raises:
        ProblemError: there is no such set; reading a pool says what is wrong with its images.
    """
    home = data_root(root, base)
    missing = settings.splits.allow_missing
    place = locate(settings.data, home, base, missing)
    order = partial(arranged, order=settings.classes, where=place.name, allow_missing=missing)
    if place.classes:
        order(place.classes)  # before any image is decoded
    caches = tuple(dict.fromkeys((home / CACHE, user_cache() / CACHE)))
    look = Look(settings.channels, settings.image_size, settings.resize, caches, told)
    if place.kind == "npz":
        read = npz_reader(place, look, settings.classes is not None, missing)
    else:
        read = partial(_read, place, look)
    return Source(place, lambda pool: _in_order(read(pool), order))


def _read(place: Place, look: Look, pool: str) -> Pool:
    if place.kind == "named":
        return read_named(place.name, pool, place.path, look)
    return read_folder(place.folders[pool], look, place.classes)


def _in_order(pool: Pool, order: Callable[[Sequence[str]], tuple[str, ...]]) -> Pool:
    """Number the classes as the settings have them."""
    classes = order(pool.classes)
    if classes == pool.classes:
        return pool
    places = torch.tensor([classes.index(name) for name in pool.classes])
    return replace(pool, labels=places[pool.labels], classes=classes)
