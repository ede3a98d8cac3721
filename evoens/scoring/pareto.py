"""Pareto dominance: non-dominated fronts, crowding distance and hypervolume of points; higher is better everywhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = NDArray[np.float64]
BLOCK = 1 << 24  # comparisons that are made together, so that many points take no more memory


def fronts(values: ArrayLike) -> Iterator[list[int]]:
    """Yield the places of the points that none dominates, then of those that only these dominate, and so on.

    One dominates another that is nowhere better, and somewhere worse (fast non-dominated sorting, Deb et al. 2002).

    values: `(n, objectives)`, finite.
    """
    points = np.asarray(values, np.float64)
    left = np.arange(len(points))
    while len(left):
        worse = _dominated(points[left])
        yield left[~worse].tolist()
        left = left[worse]


def crowding(values: ArrayLike) -> Points:
    """Return how much room each point of a front has, `(n,)` (crowding distance, Deb et al. 2002, III.B).

    It is Σ over objectives (next − previous) / (largest − smallest). The first and last by an objective have infinite
    room, so that a front keeps its ends; one in which all are equal counts for nothing.

    values: `(n, objectives)`, finite.
    """
    points = np.asarray(values, np.float64)
    room = np.zeros(len(points))
    for x in points.T:
        if width := np.ptp(x):
            order = np.argsort(x, kind="stable")
            room[order[[0, -1]]] = np.inf
            room[order[1:-1]] += (x[order[2:]] - x[order[:-2]]) / width
    return room


def crowded_best(values: ArrayLike, n: int) -> list[int]:
    """Return the places of the `n` best: by front, within one by room, then the earlier (≺ₙ of Deb et al. 2002).

    values: `(n, objectives)`, finite.
    """
    points, found = np.asarray(values, np.float64), list[int]()
    for front in fronts(points):
        room = crowding(points[front])
        found += [front[i] for i in np.argsort(-room, kind="stable")]
        if len(found) >= n:
            break
    return found[:n]


def hypervolume(values: ArrayLike, reference: Sequence[float]) -> float:
    """Return the volume that the points dominate above `reference` (Zitzler & Thiele 1998), by WFG (While et al. 2012).

    values: `(n, objectives)`, finite; what is not above the reference in every objective adds nothing.
    """
    points, origin = np.asarray(values, np.float64).reshape(-1, len(reference)), np.asarray(reference, np.float64)
    return _volume(points[(points > origin).all(1)] - origin)


def _volume(points: Points) -> float:
    """The volume of the union of boxes from the origin to each point.

    In ascending order by the first objective each point adds a box of its own width there, less what later ones have.
    """
    if not len(points) or points.shape[1] == 1:
        return float(points.max(initial=0.0))
    points = np.unique(points, axis=0)
    points = points[~_dominated(points)]
    rest = points[:, 1:]
    return sum(
        float(width) * (float(np.prod(rest[i])) - _volume(np.minimum(rest[i + 1 :], rest[i])))
        for i, width in enumerate(points[:, 0])
    )


def _dominated(points: Points) -> NDArray[np.bool_]:
    """Which points another dominates, `(n,)`."""

    def worse(some: Points) -> NDArray[np.bool_]:
        a, b = some[:, None], points[None]
        found: NDArray[np.bool_] = ((b >= a).all(-1) & (b > a).any(-1)).any(1)
        return found

    return np.concatenate([worse(some) for some in np.array_split(points, 1 + points.size * len(points) // BLOCK)])
