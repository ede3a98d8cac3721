"""Split conformal prediction: sets of classes that hold the right one as often as was asked for.

Nothing is assumed of the predictor but that the cases it is calibrated on and those to come are exchangeable.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from scipy import stats
from torch import Tensor

from evoens.errors import EvoensError

WEIGHT, FREE = 0.01, 1  # of each class beyond the first so many, by which RAPS makes large sets dear


def threshold(probabilities: Tensor) -> Tensor:
    """Return 1 − p of each class, `(n, c)`: the sets are the smallest on average (Sadinle et al. 2019)."""
    return 1 - probabilities.double()


def aps(probabilities: Tensor) -> Tensor:
    """Return the probability of each class and all likelier ones, `(n, c)` (Romano et al. 2020, without random ties).

    Difficult cases get larger sets; without the random part of the paper they hold the right class a little too often.
    """
    p = probabilities.double()
    order = torch.sort(p, dim=-1, descending=True, stable=True).indices
    summed = p.gather(-1, order).cumsum(-1)
    return torch.empty_like(p).scatter_(-1, order, summed)


def raps(probabilities: Tensor) -> Tensor:
    """Return `aps` and 0.01 for each class beyond the first likelier than it, `(n, c)` (Angelopoulos et al. 2021)."""
    order = torch.sort(probabilities, dim=-1, descending=True, stable=True).indices
    ranks = torch.arange(1, probabilities.shape[-1] + 1).to(order.device).expand_as(order)
    rank = torch.empty_like(order).scatter_(-1, order, ranks)
    return aps(probabilities) + WEIGHT * (rank - FREE).clamp_min(0)


SCORES: dict[str, Callable[[Tensor], Tensor]] = {"threshold": threshold, "aps": aps, "raps": raps}
"""Scores of nonconformity by name: from probabilities `(n, c)` to `(n, c)`, lower where a class fits better."""


def quantile(scores: Tensor, coverage: float) -> float:
    """Return the ⌈(n + 1) · coverage⌉-th smallest of n scores (Vovk et al. 2005); infinite where n is too small for it.

    Args:
        scores: of the right classes of calibration cases, `(n,)`.
        coverage: how often a set is to hold the right class, between 0 and 1.
    """
    if not 0 < coverage < 1:
        raise EvoensError(f"coverage: expected a number between 0 and 1, found {coverage:g}")
    place = math.ceil((len(scores) + 1) * coverage - 1e-9)  # 0.9 · 10 is a little more than 9 in binary
    return float(scores.double().kthvalue(place).values) if place <= len(scores) else math.inf


def fitted(scores: Tensor, labels: Tensor, coverage: float) -> float:
    """Return the score up to which classes belong to a set.

    Args:
        scores: of calibration cases, `(n, c)`.
        labels: their right classes, `(n,)`.
        coverage: as for `quantile`.
    """
    return quantile(scores.gather(1, labels[:, None])[:, 0], coverage)


def proportion(hits: Tensor) -> tuple[float, float, float]:
    """Return a share and its exact 95 % interval (Clopper & Pearson 1934), of bools `(n,)`, n ≥ 1."""
    found = stats.binomtest(int(hits.sum()), len(hits))
    ends = found.proportion_ci(0.95)
    return float(found.statistic), float(ends.low), float(ends.high)
