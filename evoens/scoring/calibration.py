"""Calibration: how far a predictor's confidence can be believed, and the one number that mends much of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evoens.errors import EvoensError, ShapeError
from evoens.scoring.metrics import confidence_bins, ece_of

Floats = npt.NDArray[np.float64]
Values = Tensor | npt.ArrayLike
TINY = torch.finfo(torch.float32).tiny  # 1.2e-38: what a softmax in float32 rounds to zero was below this
LOWEST, HIGHEST = 0.05, 20.0  # temperatures
STEPS = 100  # far more than any fit needs


def log_probabilities(probabilities: Tensor) -> Tensor:
    """Return ln p in float64, of any shape; a p below the smallest normal float32, 1.2e-38, counts as that."""
    return probabilities.double().clamp_min(TINY).log()


def nll(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return each case's negative log-likelihood −ln p(label), in nats (dissertation eq. 3.27 is their mean).

    Args:
        probabilities: `(n, c)`, rows sum to 1; a zero counts as 1.2e-38, the smallest normal float32, so that one sure
            and wrong answer costs 87.3 nats and the mean stays finite.
        labels: the true classes, whole numbers `(n,)`.

    Returns:
        `(n,)` float64.

    Raises:
        ShapeError: the shapes do not fit, or a label is not below c.
    """
    _check(probabilities, labels)
    own: Tensor = probabilities.gather(1, labels.long()[:, None])[:, 0]
    return -log_probabilities(own)


def correct(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return 1 where the most probable class is the label, else 0, `(n,)` float64; the arguments are those of `nll`."""
    _check(probabilities, labels)
    return (probabilities.argmax(-1) == labels).double()


def confidence(probabilities: Tensor) -> Tensor:
    """Return the probability of the most probable class, `(n,)` float64, of probabilities `(n, c)`."""
    return probabilities.double().amax(-1)


def ece(confidence: Values, correct: Values, bins: int = 15) -> float:
    """Return the expected calibration error, 0 to 1 (Naeini et al. 2015; Guo et al. 2017, eq. 3; dissertation 3.28).

    The mean over cases of |accuracy − mean confidence| of the case's bin. The bins have equal widths and are closed
    below; a confidence of exactly 1 belongs to the last.

    Args:
        confidence: `(n,)`, 0 to 1.
        correct: 1 or 0 for the same cases, `(n,)`.
        bins: how many.

    Raises:
        ShapeError: the two differ in shape, or are empty.
    """
    rows = _rows(confidence, correct)
    return ece_of(rows, bins).score


@dataclass(frozen=True, slots=True)
class Bin:
    """One bar of a reliability diagram: `count` cases of confidence `low` to `high`; no means where it is empty."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


def calibration_rows(confidence: Values, correct: Values, bins: int = 15) -> list[Bin]:
    """Return the reliability diagram, one row a bin, the lowest confidence first (Guo et al. 2017, fig. 1).

    The arguments are those of `ece`, which is the mean of |accuracy − confidence| over the rows, weighted by count.
    """
    rows = _rows(confidence, correct)
    cells = confidence_bins(rows[:, 0], bins)
    counts = np.bincount(cells, minlength=bins).tolist()
    sums = [np.bincount(cells, column, minlength=bins).tolist() for column in rows.T]
    means = [[total / n if n else None for total, n in zip(own, counts, strict=True)] for own in sums]
    return [Bin(b / bins, (b + 1) / bins, counts[b], means[0][b], means[1][b]) for b in range(bins)]


def temperature(probabilities: Tensor, labels: Tensor) -> float:
    """Return the T in 0.05 to 20 whose softmax(ln p / T) has the least NLL (Guo et al. 2017, section 4.2).

    ln p stands for the logits, from which it differs by a constant of the case, which the softmax drops. Above 1: the
    predictor was too sure. The least NLL lies at an end of the range where every answer is right (0.05), or worse
    than chance (20). A NaN among the probabilities gives NaN.

    Args:
        probabilities: `(n, c)`; zeros count as in `nll`.
        labels: `(n,)`.
    """
    return 1 / _fit(probabilities, labels)[0]


def tempered(probabilities: Tensor, t: float) -> Tensor:
    """Return softmax(ln p / t), float64, for probabilities `(…, c)` and a temperature above 0.

    A zero counts as 1.2e-38, as it does where `temperature` is fitted; so a large t lifts it above zero.
    """
    if not (t > 0 and math.isfinite(t)):
        raise EvoensError(f"temperature: expected a number above 0, found {t}")
    return (log_probabilities(probabilities) / t).softmax(-1)


def calibrated_nll(probabilities: Tensor, labels: Tensor) -> float:
    """Return the mean NLL in nats at the best temperature: what is left once one number has mended the confidence.

    A ranking by it is not fooled by noise that only makes a predictor less sure. About a millisecond for
    `(2000, 10)`, so that it can score every candidate of a selection. The arguments are those of `nll`.
    """
    return _fit(probabilities, labels)[1]


def _fit(probabilities: Tensor, labels: Tensor) -> tuple[float, float]:
    """Return β = 1/T of the least mean NLL, to full precision, and that NLL.

    Newton's method, kept between the nearest β seen on either side: the NLL is convex in β. It steps in ln β where β
    must shrink, so as not to shoot below zero. Where steps do not halve, it goes to the end of the range that it has
    not seen yet, else to the middle of the two sides.
    """
    _check(probabilities, labels, least=1)
    logs, own = _logs(probabilities, labels)
    least, most = 1 / HIGHEST, 1 / LOWEST
    low, high, beta, last, value = 0.0, math.inf, 1.0, math.inf, math.nan
    for _ in range(STEPS):
        value, slope, bend = _nll_at(beta, logs, own)
        if math.isnan(slope):
            return math.nan, math.nan
        low, high = (low, beta) if slope > 0 else (beta, high)
        new = beta * math.exp(-slope / (beta * bend + slope)) if slope > 0 else beta - slope / max(bend, 1e-300)
        new = min(max(new, least), most)
        if abs(new - beta) <= 1e-8 * beta:  # the error after a step is of the order of its square
            return new, value
        if not (low < new < high and abs(new - beta) <= last / 2):
            new = most if high == math.inf and slope <= 0 else least if low == 0 else math.sqrt(low * high)
        beta, last = new, abs(new - beta)
    return beta, value


def _nll_at(beta: float, logs: Floats, own: float) -> tuple[float, float, float]:
    """Return the mean over cases of ln Σ exp(β·l) − β·l(label), and its first and second derivative in β."""
    weights = np.exp(beta * logs)
    total = weights.sum(axis=0)
    weights *= logs
    mean = weights.sum(axis=0) / total
    weights *= logs
    variance = weights.sum(axis=0) / total - mean * mean
    return float(np.log(total).mean()) - beta * own, float(mean.mean()) - own, float(variance.mean())


def _logs(probabilities: Tensor, labels: Tensor) -> tuple[Floats, float]:
    """Return ln p less the case's largest, `(c, n)`, and the mean of the labels' own."""
    columns = (
        probabilities.detach().cpu().double().T.contiguous().numpy()
    )  # sums over the first axis are the quick ones
    logs = np.log(np.maximum(columns, TINY))
    logs -= logs.max(axis=0)
    return logs, float(logs[labels.cpu().numpy(), np.arange(logs.shape[1])].mean())


def _rows(confidence: Values, correct: Values) -> Floats:
    x, y = (_array(values) for values in (confidence, correct))
    if x.ndim != 1 or x.shape != y.shape or not x.size:
        raise ShapeError(f"confidence and correct: expected two of shape (n,), n ≥ 1, found {x.shape} and {y.shape}")
    return np.stack([x, y], axis=1)


def _array(values: Values) -> Floats:
    plain = values.detach().cpu().double().numpy() if isinstance(values, Tensor) else values
    return np.asarray(plain, dtype=np.float64)


def _check(probabilities: Tensor, labels: Tensor, least: int = 0) -> None:
    if probabilities.dim() != 2 or labels.shape != probabilities.shape[:1] or len(labels) < least:
        found = f"{tuple(probabilities.shape)} and {tuple(labels.shape)}"
        raise ShapeError(f"probabilities and labels: expected shapes (n, c) and (n,), n ≥ {least}, found {found}")
    if len(labels) and not (labels.min() >= 0 and labels.max() < probabilities.shape[1]):
        found = f"{labels.min()} to {labels.max()}"
        raise ShapeError(f"labels: expected classes 0 to {probabilities.shape[1] - 1}, found {found}")
