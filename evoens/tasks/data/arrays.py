"""An `.npz` file of images and labels, as people store them; nothing in it is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoens.errors import ProblemError
from evoens.tasks.data.decode import Bytes, Look, shown
from evoens.tasks.data.folders import by_number, listed
from evoens.tasks.data.layout import Place, npz_pools
from evoens.tasks.data.pool import Pool

Numbers = NDArray[np.int64]
MOST = 100_000  # classes


def numbered(
    labels: Mapping[str, NDArray[Any]], places: Mapping[str, str], named: bool, allow_missing: bool
) -> tuple[tuple[str, ...], dict[str, Numbers]]:
    """Return the classes' names and each pool's labels as numbers of classes, `(n,)`.

    Integers are names too: they count from 0, or from 1, without a gap, unless the classes are named by the settings.

    Args:
        labels: of each pool, as stored.
        places: where each pool's labels are, for a message.
        named: the settings name the classes, so that any integers may do.
        allow_missing: integers between 0 and the largest may have no image.

    Raises:
        ProblemError: they have no meaning, or more than one; the message has the line that would mend them.
    """
    plain = {pool: _plain(values, places[pool]) for pool, values in labels.items()}
    every = list(np.unique(np.concatenate([np.unique(values) for values in plain.values()])))
    if len({values.dtype.kind for values in plain.values()}) > 1:
        raise ProblemError(f"{' and '.join(places.values())}: expected labels of one kind, found numbers and names")
    if not isinstance(every[0], str) and not named:
        every = _counted([int(value) for value in every], " and ".join(places.values()), allow_missing)
    names = by_number([str(value) for value in every])
    return tuple(names), {pool: _places(values, names) for pool, values in plain.items()}


def _counted(found: list[int], where: str, allow_missing: bool) -> list[int]:
    """The classes that integers stand for: all up to the largest, from 0 on or from 1."""
    least, most = found[0], found[-1]
    whole = list(range(min(least, 1), most + 1)) if 0 <= least <= 1 and most < MOST else []
    if found == whole or (allow_missing and least >= 0 and most < MOST):
        return found if found == whole else list(range(most + 1))
    if whole:
        none = listed(str(value) for value in whole if value not in set(found))
        advice = "splits.allow_missing: true takes them as classes without images"
        expected = f"expected images of each of {len(whole)} classes, found none of {none}"
        raise ProblemError(f"{where}: {expected}; {advice}, {_as_classes(found)} has only those that are there")
    expected = "expected labels from 0 on, with images of every class"
    raise ProblemError(f"{where}: {expected}, found {least} to {most}; {_as_classes(found)} says that these are all")


def _as_classes(found: list[int]) -> str:
    shown = [*map(str, found)] if len(found) <= 8 else [*map(str, found[:6]), "…", str(found[-1])]
    return f"`problem.classes: [{', '.join(shown)}]`"


def _places(values: NDArray[Any], names: list[str]) -> Numbers:
    """Where each label is among the names."""
    unique, inverse = np.unique(values, return_inverse=True)
    known = {name: place for place, name in enumerate(names)}
    places = np.array([known[str(value)] for value in unique], np.int64)
    return np.take(places, np.reshape(inverse, -1))


def _plain(values: NDArray[Any], where: str) -> NDArray[Any]:
    """Return labels as `(n,)` integers or names."""
    if values.ndim == 2 and values.shape[1] == 1:  # as Keras gives them
        values = values[:, 0]
    if values.ndim == 2 and len(values) and values.dtype.kind in "biuf":
        values = _from_one_hot(values, where)
    if values.ndim != 1 or not len(values):
        raise ProblemError(f"{where}: expected one label an image, of shape (n,), found shape {values.shape}")
    kind = values.dtype.kind
    if kind == "S":
        return np.array([value.decode("utf-8", "backslashreplace") for value in values.tolist()])
    if kind == "f":
        return _from_floats(values, where)
    if kind not in "biuUT":
        raise ProblemError(f"{where}: expected integers or names, found {values.dtype}")
    return values.astype(np.int64) if kind in "biu" else values.astype(str)


def _from_one_hot(rows: NDArray[Any], where: str) -> NDArray[Any]:
    wrong = np.flatnonzero(~(((rows == 0) | (rows == 1)).all(1) & (rows.sum(1) == 1)))
    if len(wrong):
        shown = ", ".join(f"{value:g}" for value in rows[wrong[0]][:5].tolist())
        expected = f"expected one label an image, of shape (n,), or rows with a single 1, found shape {rows.shape}"
        raise ProblemError(
            f"{where}: {expected} and in row {wrong[0]} {shown}; for the largest of each row write `y = y.argmax(1)`"
        )
    return np.asarray(rows.argmax(1))


def _from_floats(values: NDArray[Any], where: str) -> NDArray[np.int64]:
    wrong = np.flatnonzero(~np.isfinite(values))
    if len(wrong):
        mended = "`keep = np.isfinite(y); x, y = x[keep], y[keep]` leaves them out"
        raise ProblemError(f"{where}: expected labels, found {values[wrong[0]]} in {len(wrong)} rows; {mended}")
    wrong = np.flatnonzero(values != np.round(values))
    if len(wrong):
        found = f"{values[wrong[0]]:g} in row {wrong[0]}"
        raise ProblemError(f"{where}: expected whole numbers, found {values.dtype} and {found}; a class is no quantity")
    return values.astype(np.int64)


_NPZ: Any = np.lib.npyio.NpzFile  # for its stub a file holds text


def npz_reader(place: Place, look: Look, named: bool = False, allow_missing: bool = False) -> Callable[[str], Pool]:
    """Return what reads a pool of an `.npz` file; the labels of all pools are read and checked at once.

    Args:
        place: the file.
        look: how its images are to be shown.
        named: the settings name the classes.
        allow_missing: a pool need not have images of every class.

    Raises:
        ProblemError: labels that are none, or a class that one of the pools has no image of.
    """
    path = place.path
    places = {pool: f"{path}: {y}" for pool, (_, y) in place.arrays.items()}
    names, labels = numbered(
        {pool: _array(path, y) for pool, (_, y) in place.arrays.items()}, places, named, allow_missing
    )
    for pool, of_pool in labels.items():
        if not allow_missing:
            check_classes(of_pool, names, places[pool])

    def read(pool: str) -> Pool:
        """Check the pool's images against its labels."""
        name = place.arrays[pool][0]
        where = f"{path}: {name}"
        images = images_of(_array(path, name), where)
        if len(images) != len(labels[pool]):
            raise ProblemError(f"{where}: expected {len(labels[pool])} images, one a label, found {len(images)}")
        pixels = shown(images, look, lambda: array_name(f"{path.stem}-{pool}", images, look))
        return Pool(pixels, torch.from_numpy(labels[pool]), names)

    return read


def npz_images(path: Path, look: Look) -> Iterator[Tensor]:
    """Yield all images of an `.npz` file, `(c, h, w)` uint8 each, whatever their labels are.

    Raises:
        ProblemError: it is no such file, or has none.
    """
    for pool, (name, _) in npz_pools(path).items():
        images = images_of(_array(path, name), f"{path}: {name}")
        yield from shown(images, look, partial(array_name, f"{path.stem}-{pool}", images, look))


def _array(path: Path, name: str) -> NDArray[Any]:
    try:
        with path.open("rb") as file, _NPZ(file, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    except Exception as error:  # zipfile, zlib and NumPy each have their own
        advice = f"; save `{name}.astype(str)`, or what it is of, not objects" if "allow_pickle" in str(error) else ""
        found = f"expected an array of numbers or names, found what cannot be read: {error}"
        raise ProblemError(f"{path}: {name}: {found}{advice}") from error


def check_classes(labels: NDArray[np.int64], classes: tuple[str, ...], where: str) -> None:
    """Check that labels `(n,)` are those of `classes`, each with an image.

    Raises:
        ProblemError: one is out of range, or a class has none; `where` begins the message.
    """
    if labels.min() < 0 or labels.max() >= len(classes):
        found = f"{labels.min()} to {labels.max()}"
        raise ProblemError(f"{where}: expected labels from 0 to {len(classes) - 1}, found {found}")
    counts = np.bincount(labels, minlength=len(classes))
    if not counts.all():
        empty = listed(classes[i] for i in np.flatnonzero(counts == 0))
        expected = f"expected images of each of {len(classes)} classes, found none of {empty}"
        raise ProblemError(f"{where}: {expected}; splits.allow_missing: true allows it")


def images_of(values: NDArray[Any], where: str) -> Bytes:
    """Return images `(n, h, w, c)` from `(n, h, w)`, `(n, h, w, c)` or `(n, c, h, w)`, where c is 1 or 3.

    Raises:
        ProblemError: another shape, or values of which it is not clear what is white; `where` begins the message, which
            has the line that would mend them.
    """
    values = _bytes(values, where)
    if values.ndim == 3:
        return values[..., None]
    last, first = (values.ndim == 4 and values.shape[axis] in (1, 3) for axis in (3, 1))
    if last == first:
        expected = "(n, h, w), (n, h, w, c) or (n, c, h, w) with c 1 or 3"
        raise ProblemError(f"{where}: expected shape {expected}, found {values.shape}")
    return values if last else values.transpose(0, 2, 3, 1)


def _bytes(values: NDArray[Any], where: str) -> Bytes:
    """Return bytes as they are, numbers from 0 to 1 or to 255 as the nearest byte."""
    if values.dtype == np.uint8:
        return values
    if values.dtype.kind not in "biuf" or not values.size:
        raise ProblemError(f"{where}: expected bytes (uint8, 0 to 255), found {values.dtype}")
    bad = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(1))
    if len(bad):
        line = "`keep = np.isfinite(x).reshape(len(x), -1).all(1); x, y = x[keep], y[keep]`"
        raise ProblemError(f"{where}: expected numbers, found NaN or ∞ in {len(bad)} images, first {bad[0]}; {line}")
    least, most = float(values.min()), float(values.max())
    if values.dtype.kind == "b" or (values.dtype.kind == "f" and least >= 0 and 0.5 < most <= 1):
        return np.asarray(np.rint(values.astype(np.float32) * 255), np.uint8)
    if least >= 0 and 128 <= most <= 255:
        return np.asarray(np.rint(values), np.uint8)
    found = f"expected bytes (uint8, 0 to 255) or floats from 0 to 1, found {values.dtype} from {least:g} to {most:g}"
    if least < 0:
        line = "if normalised, write `x = ((x * std + mean) * 255).round().clip(0, 255).astype('uint8')`"
    elif most == 0:
        line = "all are black"
    else:
        line = f"if {most:g} is white, write `x = (x / {most:g} * 255).round().astype('uint8')`"
    raise ProblemError(f"{where}: {found}; {line}")


def array_name(name: str, images: Bytes, look: Look) -> str:
    """Name the images as `look` shows them, for the file that keeps them: by their bytes."""
    digest = hashlib.sha256(json.dumps([images.shape, look.key]).encode())
    digest.update(np.ascontiguousarray(images).data)
    return f"{name}-{digest.hexdigest()[:16]}"
