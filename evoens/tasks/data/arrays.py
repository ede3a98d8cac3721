"""An `.npz` file of images and labels; nothing in it is ever unpickled."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evoens.errors import ProblemError
from evoens.tasks.data.decode import Bytes, Look, shown
from evoens.tasks.data.layout import Place, listed
from evoens.tasks.data.pool import Pool

_NPZ: Any = np.lib.npyio.NpzFile  # for its stub a file holds text


def npz_reader(place: Place, look: Look) -> Callable[[str], Pool]:
    """Return what reads a pool of an `.npz` file; the labels of all pools are read and checked at once.

    Raises:
        ProblemError: labels that are no integers from 0 on, or a class that one of the pools has no image of.
    """
    path = place.path
    labels = {pool: _labels(_array(path, y), f"{path}: {y}") for pool, (_, y) in place.arrays.items()}
    classes = 1 + max(int(of_pool.max()) for of_pool in labels.values())
    names = tuple(str(label) for label in range(classes))
    for pool, of_pool in labels.items():
        check_classes(of_pool, names, f"{path}: {place.arrays[pool][1]}")

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


def _array(path: Path, name: str) -> NDArray[Any]:
    try:
        with path.open("rb") as file, _NPZ(file, allow_pickle=False) as arrays:
            return np.asarray(arrays[name])
    except Exception as error:  # zipfile, zlib and NumPy each have their own
        raise ProblemError(
            f"{path}: {name}: expected an array of numbers, found what cannot be read: {error}"
        ) from error


def _labels(values: NDArray[Any], where: str) -> NDArray[np.int64]:
    if values.dtype.kind not in "iu":
        raise ProblemError(f"{where}: expected integers, found {values.dtype}")
    if values.ndim == 2 and values.shape[1] == 1:  # as Keras gives them
        values = values[:, 0]
    if values.ndim != 1 or not len(values):
        raise ProblemError(f"{where}: expected one label an image, of shape (n,), found shape {values.shape}")
    if int(values.min()) < 0 or int(values.max()) >= len(values):
        found = f"{values.min()} to {values.max()}"
        raise ProblemError(f"{where}: expected labels from 0 on, with images of every class, found {found}")
    return values.astype(np.int64)


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
        raise ProblemError(f"{where}: expected images of each of {len(classes)} classes, found none of {empty}")


def images_of(values: NDArray[Any], where: str) -> Bytes:
    """Return images `(n, h, w, c)` from `(n, h, w)`, `(n, h, w, c)` or `(n, c, h, w)`, where c is 1 or 3.

    Raises:
        ProblemError: another shape, or other values than bytes; `where` begins the message.
    """
    if values.dtype != np.uint8:
        raise ProblemError(f"{where}: expected bytes (uint8, 0 to 255), found {values.dtype}")
    if values.ndim == 3:
        return values[..., None]
    last, first = (values.ndim == 4 and values.shape[axis] in (1, 3) for axis in (3, 1))
    if last == first:
        expected = "(n, h, w), (n, h, w, c) or (n, c, h, w) with c 1 or 3"
        raise ProblemError(f"{where}: expected shape {expected}, found {values.shape}")
    return values if last else values.transpose(0, 2, 3, 1)


def array_name(name: str, images: Bytes, look: Look) -> str:
    """Name the images as `look` shows them, for the file that keeps them: by their bytes."""
    digest = hashlib.sha256(json.dumps([images.shape, look.key]).encode())
    digest.update(np.ascontiguousarray(images).data)
    return f"{name}-{digest.hexdigest()[:16]}"
