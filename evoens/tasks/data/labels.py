"""Labels as people store them: integers, whole floats, names, one-hot rows; taken where they have one meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoens.errors import ProblemError
from evoens.tasks.data.folders import listed
from evoens.tasks.data.tree import by_number

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
