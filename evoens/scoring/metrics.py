"""Returns, balanced accuracies and calibration errors with intervals, and how far scores can be trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from evoens.errors import ShapeError

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
CHUNK = 1 << 18  # places drawn at a time: 2 MB
SPLITS = 100  # random halves that `reliability` averages over


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, or another statistic, of `n` cases with its 95 % confidence interval, in the unit of the cases."""

    score: float
    low: float
    high: float
    n: int

    def to_json(self) -> dict[str, Any]:
        """Return `{"score", "ci95": [low, high], "n"}`."""
        return {"score": self.score, "ci95": [self.low, self.high], "n": self.n}


@dataclass(frozen=True, slots=True)
class Statistic:
    """A figure of `n` cases, of any draw of them: `of` takes places `(r, n)`, a resample a row, and gives `(r,)`."""

    n: int
    of: Callable[[Places], Floats]

    @property
    def score(self) -> float:
        """The figure of the cases as they are."""
        return float(self.of(np.arange(self.n)[None])[0])


def standard_error(values: npt.ArrayLike) -> float | None:
    """Return the standard error of the mean of `(n,)`; None of one value, which says nothing of its spread."""
    x = np.asarray(values, np.float64)
    return float(stats.sem(x)) if len(x) > 1 else None


def bootstrap(statistic: Statistic, resamples: int = 2000, seed: int = 0) -> Interval:
    """Return a statistic with its percentile bootstrap interval (Efron 1979), the same for the same seed.

    Args:
        statistic: of 1 case or more; what belongs to one case (a level) is averaged first.
        resamples: how many times the cases are drawn anew.
        seed: of the Philox stream that draws them.
    """
    n, rng = statistic.n, np.random.Generator(np.random.Philox(seed))
    rows = max(1, CHUNK // n)  # a few resamples at a time: less memory, the same bits
    values = [statistic.of(rng.integers(0, n, (min(rows, resamples - done), n))) for done in range(0, resamples, rows)]
    low, high = np.quantile(np.concatenate(values), (0.025, 0.975))
    return Interval(statistic.score, float(low), float(high), n)


def mean_of(cases: npt.ArrayLike) -> Statistic:
    """Return the mean of cases as a statistic.

    Args:
        cases: one result per independent case, `(n,)`.

    Raises:
        ShapeError: `cases` is empty or not one-dimensional.
    """
    x = np.asarray(cases, dtype=np.float64)
    if x.ndim != 1 or x.size == 0:
        raise ShapeError(f"cases: expected shape (n,) with n ≥ 1, found {x.shape}")
    return Statistic(x.size, lambda places: np.asarray(x[places].mean(axis=1)))


def confidence_bins(confidence: npt.ArrayLike, bins: int) -> Places:
    """Return the bin of each confidence, 0 to `bins` − 1: equal widths, closed below; exactly 1 is in the last."""
    return np.searchsorted(np.arange(1, bins) / bins, np.asarray(confidence), side="right")


def ece_of(rows: npt.ArrayLike, bins: int = 15) -> Statistic:
    """Return the expected calibration error as a statistic: Σ_bins |Σ confidence − correct| / n.

    Args:
        rows: confidence (0 to 1) and correct (1 or 0) of each case, `(n, 2)`.
        bins: how many; a case keeps its bin in every resample.

    Luck in a bin never cancels, so the error measured is above the true one, and a resample's further above: the
    interval of a well calibrated predictor can lie above its own score. In the difference of two that are about equally
    well calibrated most of this cancels; else it favours the worse one.

    Raises:
        ShapeError: `rows` is not `(n, 2)`, or is empty.
    """
    x = np.asarray(rows, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] != 2 or not len(x):
        raise ShapeError(f"rows: expected shape (n, 2), confidence and correct, with n ≥ 1, found {x.shape}")
    cells, gaps = confidence_bins(x[:, 0], bins), x[:, 0] - x[:, 1]

    def error(places: Places) -> Floats:
        """Sum every resample's gaps in bins of its own."""
        apart = cells[places] + bins * np.arange(len(places))[:, None]
        sums = np.bincount(apart.ravel(), gaps[places].ravel(), bins * len(places))
        return np.asarray(np.abs(sums.reshape(-1, bins)).sum(axis=1) / places.shape[1])

    return Statistic(len(x), error)


def balanced_of(correct: npt.ArrayLike, classes: npt.ArrayLike) -> Statistic:
    """Return the balanced accuracy as a statistic: the mean, over the classes that are there, of their accuracies.

    Args:
        correct: 1 or 0 of each case, `(n,)`.
        classes: each case's, whole numbers from 0 on, `(n,)`.

    Raises:
        ShapeError: the two differ in shape, or are empty.
    """
    x, labels = np.asarray(correct, dtype=np.float64), np.asarray(classes)
    if x.ndim != 1 or x.shape != labels.shape or not len(x):
        raise ShapeError(f"correct and classes: expected two of shape (n,), n ≥ 1, found {x.shape} and {labels.shape}")
    k = int(labels.max()) + 1

    def recall(places: Places) -> Floats:
        """Count every resample's cases and right answers in classes of its own."""
        apart = (labels[places] + k * np.arange(len(places))[:, None]).ravel()
        cases = np.bincount(apart, minlength=k * len(places)).reshape(-1, k)
        right = np.bincount(apart, x[places].ravel(), k * len(places)).reshape(-1, k)
        return np.asarray((right / np.maximum(cases, 1)).sum(axis=1) / (cases > 0).sum(axis=1))

    return Statistic(len(x), recall)


def difference(a: Statistic, b: Statistic) -> Statistic:
    """Return `a − b` of the same resampled cases: luck that both share with a case cancels.

    Raises:
        ShapeError: they have different numbers of cases.
    """
    if a.n != b.n:
        raise ShapeError(f"a and b: expected the same cases, found {a.n} and {b.n} of them")
    return Statistic(a.n, lambda places: a.of(places) - b.of(places))


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
