"""An `.npz` file of images and labels; nothing in it is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoens.errors import ProblemError
from evoens.tasks.data.decode import Bytes, Look, shown
from evoens.tasks.data.folders import listed
from evoens.tasks.data.labels import numbered
from evoens.tasks.data.layout import Place, npz_pools
from evoens.tasks.data.pool import Pool

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
