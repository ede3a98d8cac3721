"""Returns with intervals, and how far scores can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from evoens.errors import ShapeError

Floats = npt.NDArray[np.float64]
SPLITS = 100  # random halves that `reliability` averages over


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over `n` cases with its 95 % confidence interval, in the unit of the cases."""

    score: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Return `{"score", "ci95": [low, high], "n"}`."""
        return {"score": self.score, "ci95": [self.low, self.high], "n": self.n}


def mean_interval(cases: npt.ArrayLike, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the mean of `cases` with its percentile bootstrap interval (Efron 1979), the same for the same seed.

    Args:
        cases: one result per independent case, `(n,)`; average what belongs to one case (a level) first.
        resamples: how many times the cases are drawn anew.
        seed: of the Philox stream that draws them.

    Raises:
        ShapeError: `cases` is empty or not one-dimensional.
    """
    x = np.asarray(cases, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ShapeError(f"cases: expected shape (n,) with n ≥ 1, found {x.shape}")
    draws = np.random.Generator(np.random.Philox(seed)).integers(0, x.size, (resamples, x.size))
    low, high = np.quantile(x[draws].mean(axis=1), (0.025, 0.975))
    return Interval(float(x.mean()), float(low), float(high), x.size)


def paired_difference(a: npt.ArrayLike, b: npt.ArrayLike, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return the mean of `a − b`, paired case by case: luck that both share with a case cancels.

    Args:
        a: results `(n,)`.
        b: results of the same cases in the same order, `(n,)`.
        resamples: as in `mean_interval`.
        seed: as in `mean_interval`.

    Raises:
        ShapeError: the two differ in length, or are empty.
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape:
        raise ShapeError(f"a and b: expected the same cases, found shapes {x.shape} and {y.shape}")
    return mean_interval(x - y, resamples, seed)


def spearman(a: npt.ArrayLike, b: npt.ArrayLike) -> Floats:
    """Return the rank correlation of each row of `a` with the same row of `b` (Spearman 1904).

    Args:
        a: scores `(…, n)`; ties get their mean rank.
        b: scores of the same shape.

    Returns:
        `(…)`, −1 to 1; NaN where a row is constant.
    """
    x, y = (stats.rankdata(v, axis=-1) - (np.shape(v)[-1] + 1) / 2 for v in (a, b))
    spread = np.sqrt((x * x).sum(-1) * (y * y).sum(-1))
    correlation = np.full(spread.shape, np.nan)
    return np.divide((x * y).sum(-1), spread, out=correlation, where=spread > 0)


def reliability(scores: npt.ArrayLike, seed: int = 0) -> float | None:
    """Return how far a ranking of the children by their mean over all cases would come out again on new cases.

    The cases are cut in two halves at random, 100 times; the children's means on either half are rank-correlated;
    the average correlation r is stepped up from half the cases to all of them, 2r / (1 + |r|) (Spearman 1910, Brown
    1910; mirrored below zero, where the formula has no meaning and no lower bound). 1: selection sees real
    differences; 0 or less: it sees noise.

    Args:
        scores: one result per child and case, `(children, cases)`, all finite.
        seed: of the cuts.

    Returns:
        −1 to 1, or None with fewer than three children or two cases, or where all children score the same.
    """
    x = np.asarray(scores, dtype=np.float64)
    if x.ndim != 2:
        raise ShapeError(f"scores: expected shape (children, cases), found {x.shape}")
    children, cases = x.shape
    if children < 3 or cases < 2:
        return None
    rng = np.random.Generator(np.random.Philox(seed))
    orders = np.stack([rng.permutation(cases) for _ in range(SPLITS)])
    half = cases // 2
    first, second = (x[:, part].mean(axis=-1).T for part in (orders[:, :half], orders[:, half : 2 * half]))
    correlations = spearman(first, second)
    if np.isnan(correlations).all():
        return None
    r = float(np.nanmean(correlations))
    return 2 * r / (1 + abs(r))
