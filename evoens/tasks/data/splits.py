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
from evoens.tasks.data.counts import cuts_of, split_sizes

Indices = NDArray[np.int64]


def cut(splits: SplitCuts, labels: Mapping[str, Indices], classes: Sequence[str], seed: int) -> dict[str, Indices]:
    """Return the places of each split's images in its pool, ascending; the splits of one pool share none.

    A split has exactly as many images as asked for, and of each class its share, rounded down or up. A pool's splits
    do not depend on the other pool, which may be missing from `labels`.

    Args:
        splits: what each split takes from which pool.
        labels: the classes of each pool's images, `(n,)`.
        classes: their names.
        seed: draws which images a split gets.

    Raises:
        ProblemError: more is asked for than there is, or a split gets no image of some class.
    """
    found: dict[str, Indices] = {}
    for pool, of_pool in labels.items():
        with about("problem", "splits"):
            sizes = split_sizes(cuts_of(splits, pool), len(of_pool), pool)
        found |= _cut_pool(sizes, of_pool, classes, seed, pool)
    return found


def _cut_pool(
    sizes: Mapping[str, int], labels: Indices, classes: Sequence[str], seed: int, pool: str
) -> dict[str, Indices]:
    counts = np.bincount(labels, minlength=len(classes))
    rows = [*sizes.values(), len(labels) - sum(sizes.values())]  # the last is what nobody asked for
    table = apportioned(rows, counts)
    for name, row in zip(sizes, table, strict=False):
        _check_every_class(name, row, counts, classes)
    keys = noise.words(seed, f"split:{pool}", 4 * len(labels)).view(np.uint64)
    order = np.lexsort((keys, labels))  # class by class, shuffled within each
    owners = np.empty(len(labels), np.int64)
    owners[order] = np.repeat(np.tile(np.arange(len(rows)), len(classes)), table.T.ravel())
    return {name: np.flatnonzero(owners == place) for place, name in enumerate(sizes)}


def _check_every_class(name: str, row: Indices, counts: Indices, classes: Sequence[str]) -> None:
    if row.all():
        return
    lacking = int(np.argmin(row))
    share = f"of {counts.sum()} images {counts[lacking]} are"
    message = f'expected images of every class, found none of "{classes[lacking]}" ({share}) among {row.sum()}'
    raise ProblemError(f"problem.splits.{name}: {message}; give it a larger count", ("problem", "splits", name))


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
