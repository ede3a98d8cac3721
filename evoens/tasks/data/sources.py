"""Open a data set: a named one, downloaded where it is not there, a folder of images, or an `.npz` file."""

from __future__ import annotations

import contextlib
import math
import pickletools
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evoens import noise
from evoens.errors import ProblemError
from evoens.progress import OnCount, no_progress
from evoens.settings.classification import ClassificationSettings
from evoens.tasks.data.arrays import array_name, check_classes, npz_reader
from evoens.tasks.data.decode import Bytes, Look, shown
from evoens.tasks.data.folder import read_folder
from evoens.tasks.data.folders import check_folder
from evoens.tasks.data.layout import (
    VARIABLE,
    Place,
    arranged,
    data_root,
    imagenet_folder,
    imagenet_missing,
    locate,
    user_cache,
)
from evoens.tasks.data.pool import Pool, Source

POINTS = 2750  # 2500 to learn from and to choose by, 250 to hold out (dissertation 4.3.1)
TURNS = 1.5
BLUR = 0.02  # standard deviation of a point's distance from its spiral; the spirals end at 1
MIDDLE, REACH = 127.5, 115.0  # bytes: where 0 lies, and how far 1 is from it


def spirals() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return points as pictures `(n, 1, 2, 1)` uint8, x and y, and which spiral each belongs to, `(n,)`.

    The spirals are each other turned by half a circle. Every point is the same on every machine.
    """
    share = (noise.words(0, "spirals:place", POINTS).astype(np.float64) + 0.5) / 65536
    angle = np.sqrt(share) * TURNS * 2 * math.pi  # the root spreads points evenly along the arm
    labels = np.arange(POINTS) % 2
    way = np.where(labels, -1.0, 1.0) * angle / (TURNS * 2 * math.pi)
    points = np.stack([way * np.cos(angle), way * np.sin(angle)], axis=-1)
    points += BLUR * noise.normals(0, "spirals:blur", (POINTS, 2)).double().numpy()
    pixels = np.clip(np.rint(MIDDLE + REACH * points), 0, 255).astype(np.uint8)
    return pixels.reshape(-1, 1, 2, 1), labels.astype(np.int64)


# What an array and its labels need in a pickle, and the instructions that could ask for more without naming it.
_PLAIN = {f"numpy{core}.multiarray _reconstruct" for core in (".core", "._core")}
_PLAIN |= {"numpy ndarray", "numpy dtype", "_codecs encode"}
_OPAQUE = {"STACK_GLOBAL", "INST", "OBJ", "EXT1", "EXT2", "EXT4", "PERSID", "BINPERSID"}


def read_named(name: str, pool: str, root: Path, look: Look) -> Pool:
    """Return a pool of a named set; `root` is torchvision's.

    Raises:
        ProblemError: it is not there and cannot be downloaded (the message says what to put where by hand), or is
            damaged.
    """
    if name == "ImageNet":
        return _imagenet(pool, root, look)
    images, labels, classes = OWN[name]() if name in OWN else _torchvision(name, pool, root)
    check_classes(labels, classes, f"{name}, {pool}")
    pixels = shown(images, look, lambda: array_name(f"{name}-{pool}", images, look))
    return Pool(pixels, torch.from_numpy(labels), classes)


_Arrays = tuple[Bytes, NDArray[np.int64], tuple[str, ...]]


def _digits() -> _Arrays:
    from sklearn.datasets import load_digits  # noqa: PLC0415 (two seconds, for this set only)

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)  # 0 to 16
    return images[..., None], digits.target.astype(np.int64), tuple(map(str, digits.target_names))


def _spirals() -> _Arrays:
    points, labels = spirals()
    return points, labels, ("0", "1")


OWN: dict[str, Callable[[], _Arrays]] = {"digits": _digits, "spirals": _spirals}
"""The sets that nobody has to download."""


def _torchvision(name: str, pool: str, root: Path) -> _Arrays:
    from torchvision import datasets  # noqa: PLC0415

    kind: Any = getattr(datasets, name)
    train = pool == "train"
    if name.startswith("CIFAR"):
        kind = _cifar(kind, train, root)
    else:
        _fetch(kind, train, root)
    with _reading(f"{root}: {name}"):
        data = kind(root, train=train)
        images = np.asarray(data.data)
        labels = np.asarray(data.targets, dtype=np.int64)
    return images[..., None] if images.ndim == 3 else images, labels, tuple(data.classes)


@contextlib.contextmanager
def _reading(what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # torchvision raises whatever its parsers do
        raise ProblemError(f"{what}: expected torchvision's files, found what cannot be read: {error!r}") from error


def _fetch(kind: Any, train: bool, root: Path) -> None:
    """Let torchvision look for its files, and download or unpack what is missing."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            kind(root, train=train, download=True)
    except Exception as error:
        advice = f"put {_by_hand(kind, root)} by hand, or name another folder as data.root or {VARIABLE}"
        failed = f"found no {kind.__name__}, and its download failed ({' '.join(str(error).split())})"
        raise ProblemError(f"{root}: {failed}: {advice}") from error


def _by_hand(kind: Any, root: Path) -> str:
    """Return which files torchvision takes from where."""
    if hasattr(kind, "tgz_md5"):
        return f"{kind.filename} (md5 {kind.tgz_md5}, from {kind.url}) into {root}"
    files = ", ".join(name for name, _ in kind.resources)
    return f"{files} (from {kind.mirrors[0]}) into {root / kind.__name__ / 'raw'}"


def _cifar(kind: Any, train: bool, root: Path) -> Any:
    """Return `kind` without its check of md5 sums, after checking those of this pool and warning of other files."""
    from torchvision.datasets.utils import check_integrity  # noqa: PLC0415

    folder = root / kind.base_folder
    parts = kind.train_list if train else kind.test_list
    sums = {**dict(parts), kind.meta["filename"]: kind.meta["md5"]}
    if not all((folder / name).is_file() for name in sums):
        _fetch(kind, train, root)
    others = [name for name, md5 in sums.items() if not check_integrity(folder / name, md5)]
    for name in others:
        _check_plain(folder / name)
    if others:
        message = f"{folder}: {', '.join(others)}: not the official files (their md5 differs); read as they are"
        warnings.warn(message, stacklevel=2)
    unchecked = [[name, None] for name, _ in parts]
    changed = {"train_list": unchecked, "test_list": unchecked, "meta": {**kind.meta, "md5": None}}
    return type(kind.__name__, (kind,), changed)


def _check_plain(path: Path) -> None:
    """Refuse a file that could do more than make arrays when torchvision unpickles it; to find out, none is run."""
    try:
        asked = {argument if code.name == "GLOBAL" else code.name for code, argument, _ in _instructions(path)}
    except Exception as error:
        raise ProblemError(f"{path}: expected the official file, found a damaged one: {error}") from error
    if not asked <= _PLAIN:
        found = ", ".join(sorted(map(str, asked - _PLAIN)))
        raise ProblemError(f"{path}: expected the official file, or arrays pickled with protocol 2, found {found}")


def _instructions(path: Path) -> Iterator[tuple[Any, Any, Any]]:
    with path.open("rb") as file:
        yield from (step for step in pickletools.genops(file) if step[0].name in {"GLOBAL", *_OPAQUE})


def _imagenet(pool: str, root: Path, look: Look) -> Pool:
    missing = imagenet_missing(root, pool)
    if missing:
        raise ProblemError(missing)
    folder = imagenet_folder(root, pool)
    if not folder.is_dir():
        from torchvision import datasets  # noqa: PLC0415

        with _reading(f"{folder.parent}: ImageNet's archives"):
            datasets.ImageNet(folder.parent, split=folder.name)  # unpacks them
    classes = sorted(check_folder(folder))
    return read_folder(folder, replace(look, channels=look.channels or 3), classes)  # a few of its pictures are grey


CACHE = ".evoens-cache"


def open_source(settings: ClassificationSettings, root: str | None, base: Path, told: OnCount = no_progress) -> Source:
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
