"""Cut pools of labelled images into disjoint splits, stratified by class, the same on every machine."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evoens import noise
from evoens.errors import ProblemError, about
from evoens.settings.classification import SplitCuts
from evoens.tasks.data.layout import cuts_of, split_sizes

Indices = NDArray[np.int64]
MEASURED = ("search", "select", "test")


def cut(splits: SplitCuts, labels: Mapping[str, Indices], classes: Sequence[str], seed: int) -> dict[str, Indices]:
    """Return the places of each split's images in its pool, ascending; the splits of one pool share none.

    A split has exactly as many images as asked for, and of each class its share, rounded down or up; of a rare class
    one where there are enough. A pool's splits do not depend on the other pool, which may be missing from `labels`.
    Whether a split has what it must is for `check_split` to say: the train split is not always needed.

    Args:
        splits: what each split takes from which pool.
        labels: the classes of each pool's images, `(n,)`.
        classes: their names.
        seed: draws which images a split gets.

    Raises:
        ProblemError: more is asked for than there is.
    """
    found: dict[str, Indices] = {}
    for pool, of_pool in labels.items():
        with about("problem", "splits"):
            sizes = split_sizes(cuts_of(splits, pool), len(of_pool), pool, MEASURED)
        found |= _cut_pool(sizes, of_pool, len(classes), seed, pool)
    return found


def _cut_pool(sizes: Mapping[str, int], labels: Indices, classes: int, seed: int, pool: str) -> dict[str, Indices]:
    counts = np.bincount(labels, minlength=classes)
    rows = [*sizes.values(), len(labels) - sum(sizes.values())]  # the last is what nobody asked for
    table = apportioned(rows, counts)
    _share_rare(table, list(sizes))
    keys = noise.words(seed, f"split:{pool}", 4 * len(labels)).view(np.uint64)
    order = np.lexsort((keys, labels))  # class by class, shuffled within each
    owners = np.empty(len(labels), np.int64)
    owners[order] = np.repeat(np.tile(np.arange(len(rows)), classes), table.T.ravel())
    return {name: np.flatnonzero(owners == place) for place, name in enumerate(sizes)}


def _share_rare(table: Indices, names: Sequence[str]) -> None:
    """Give each split an image of each class, where it can be had; no sum of a row or column of `table` changes.

    It comes from what nobody asked for, from a split that has several, or from the train split, and goes against one of
    the class that the split has most of.
    """
    rows = sorted(range(len(names)), key=lambda row: names[row] == "train")  # what is measured on goes first
    kept = np.array([*(name != "train" for name in names), 0])
    for of_class in table.T:  # a view
        for row in rows:
            spare, common = of_class - kept, int(table[row].argmax())
            donor = len(names) if of_class[-1] else int(spare.argmax())
            if not of_class[row] and spare[donor] > 0 and table[row, common] > 1:
                of_class[[row, donor]] += (1, -1)
                table[[row, donor], common] += (-1, 1)


def check_split(name: str, indices: Indices, labels: Indices, classes: Sequence[str], allow_missing: bool) -> None:
    """Check that a split has images, and of every class unless some may be missing; `labels` are the whole pool's.

    Raises:
        ProblemError: it has not.
    """
    keys = ("problem", "splits", name)
    if not len(indices):
        message = f"expected images, found none: the other splits have all {len(labels)} of its pool"
        raise ProblemError(f"problem.splits.{name}: {message}; give it a count, and them less", keys)
    found, there = (np.bincount(some, minlength=len(classes)) for some in (labels[indices], labels))
    if allow_missing or found.all():
        return
    lacking = int(np.argmin(found))
    share = f"of {len(labels)} images {there[lacking]} are"
    message = f'expected images of every class, found none of "{classes[lacking]}" ({share}) among {len(indices)}'
    allowed = "splits.allow_missing: true allows it"
    advice = f"give it a larger count, or {allowed}" if len(indices) < len(classes) else allowed
    raise ProblemError(f"problem.splits.{name}: {message}; {advice}", keys)


def apportioned(rows: Sequence[int], columns: Sequence[int] | Indices) -> Indices:
    """Return integers `(r, c)` with these sums of rows and columns, each `row · column / total` rounded down or up.

    Both sums add up to the same total. By controlled rounding (Causey, Cox & Ernst 1985): along a closed walk through
    entries that are no integers yet, alternately up and down, sums stay and at least one entry becomes an integer.
    """
    total = sum(rows)
    whole, part = np.divmod(np.outer(np.asarray(rows, np.int64), np.asarray(columns, np.int64)), max(total, 1))
    while part.any():
        walk = _closed_walk(part)
        up, down = tuple(np.transpose(walk[::2])), tuple(np.transpose(walk[1::2]))
        step = min(int((total - part[up]).min()), int(part[down].min()))
        full = part[up] + step == total
        whole[up] += full
        part[up] = np.where(full, 0, part[up] + step)
        part[down] -= step
    return whole


def _closed_walk(part: Indices) -> list[tuple[int, int]]:
    """Return entries above zero, in turn in the column and in the row of the one before, until back at the first."""
    row, column = (int(i) for i in np.argwhere(part)[0])
    walk, rows, columns = [(row, column)], {row: 0}, {column: 1}  # how long the walk was when it came there
    while True:
        row = _other(part[:, column], row)  # there is one: the sum is a multiple of the total
        walk.append((row, column))
        if row in rows:
            return walk[rows[row] :]
        rows[row] = len(walk)
        column = _other(part[row], column)
        walk.append((row, column))
        if column in columns:
            return walk[columns[column] :]
        columns[column] = len(walk)


def _other(values: Indices, than: int) -> int:
    return next(int(i) for i in np.flatnonzero(values)[:2] if i != than)


def described(indices: Indices, labels: Indices, classes: int) -> dict[str, Any]:
    """Return what a run's folder says of a split, as JSON can hold it.

    `labels` are the whole pool's. `indices` is null where the split is the whole pool; `sha256` is that of the indices
    as little-endian 64-bit integers.
    """
    return {
        "count": len(indices),
        "per_class": np.bincount(labels[indices], minlength=classes).tolist(),
        "sha256": hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest(),
        "indices": None if len(indices) == len(labels) else indices.tolist(),
    }
