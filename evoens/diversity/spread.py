"""How far all members together spread: in the classes they vote for, and as bias, variance and covariance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from evoens.errors import ShapeError


def equitability(outputs: Tensor) -> Tensor:
    """Shannon's equitability of the members' votes, case by case: E = −Σ p ln p / ln S (DRE eq. 5).

    p is the share of members that put a class first, S the number of classes: 0 where all agree, 1 where every class
    has as many votes.

    outputs: probabilities `(k, n, c)`, at least 2 classes.

    Returns:
        float64 `(n,)`.
    """
    if outputs.dim() != 3 or outputs.shape[-1] < 2:
        raise ShapeError(f"outputs: expected (k, n, c), c ≥ 2, found {tuple(outputs.shape)}")
    classes = outputs.shape[-1]
    votes = torch.zeros(outputs.shape[1:], dtype=torch.float64, device=outputs.device)
    for member in outputs:
        votes.scatter_add_(1, member.argmax(-1, keepdim=True), votes.new_ones(len(votes), 1))
    entropy: Tensor = torch.special.entr(votes / len(outputs)).sum(-1)
    return entropy / math.log(classes)


@dataclass(frozen=True, slots=True)
class Decomposition:
    """The error of the mean of k members: `error` = `bias`² + `variance` / k + (1 − 1/k) · `covariance`.

    Attributes:
        squared_bias: the squared mean error of the members' mean, over classes.
        variance: of a member's errors over cases, averaged over members.
        covariance: of two members' errors over cases, averaged over pairs; 0 where there is no pair.
        error: the Brier score of the members' mean.
    """

    squared_bias: float
    variance: float
    covariance: float
    error: float


def decompose(outputs: Tensor, labels: Tensor) -> Decomposition:
    """Split the squared error of the members' mean into bias, variance and covariance (IDA eq. 5 to 8).

    For classes there is no such split that all agree on. Here an error is p − y for each class, y being 1 for the right
    one and else 0; means, variances and covariances are over cases, and are summed over classes. The sum then is the
    Brier score, exactly. In the text's eq. 8 the variance lacks its 1/M, which it has in Ueda & Nakano (1996).

    Args:
        outputs: probabilities `(k, n, c)`.
        labels: the right classes, `(n,)`.
    """
    k, n, classes = outputs.shape
    if labels.shape != (n,) or not n:
        raise ShapeError(f"labels: expected ({n},), at least one, found {tuple(labels.shape)}")
    truth = torch.nn.functional.one_hot(labels.long(), classes).double()
    variance, together = 0.0, torch.zeros_like(truth)
    for member in outputs:
        errors = member.double() - truth
        variance += float(errors.var(0, correction=0).sum()) / k
        together += errors / k
    joint = float(together.var(0, correction=0).sum())
    covariance = (joint - variance / k) * k / (k - 1) if k > 1 else 0.0
    bias = float(together.mean(0).square().sum())
    return Decomposition(bias, variance, covariance, float(together.square().sum(-1).mean()))
