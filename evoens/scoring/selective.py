"""Selective prediction: how often a predictor is wrong on the cases that it is surest of (Geifman & El-Yaniv 2017)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def risks(confidence: Tensor, correct: Tensor) -> Tensor:
    """Return the share of wrong answers among the k surest cases, for k from 1 to n: float64 `(n,)`.

    Cases of equal confidence cannot be told apart: each of them counts as wrong as often as all of them are.

    Args:
        confidence: `(n,)`, higher is surer.
        correct: 1 or 0, `(n,)`.
    """
    found = np.unique(-confidence.double().numpy(), return_inverse=True, return_counts=True)
    group, counts = (torch.from_numpy(part) for part in found[1:])
    wrong = torch.zeros(len(counts), dtype=torch.float64).index_add_(0, group, 1 - correct.double()) / counts
    errors: Tensor = wrong.repeat_interleave(counts).cumsum(0) / torch.arange(1, len(correct) + 1)
    return errors


def aurc(confidence: Tensor, correct: Tensor) -> float:
    """Return the area under the risk–coverage curve, the mean of `risks` (Geifman et al. 2019); lower is better."""
    return float(risks(confidence, correct).mean())


def augrc(confidence: Tensor, correct: Tensor) -> float:
    """Return the area under the generalised risk–coverage curve (Traub et al. 2024); lower is better.

    The mean over k of the share of all cases that are among the k surest and wrong: at least half of it is the error.
    """
    n = len(correct)
    return float((risks(confidence, correct) * torch.arange(1, n + 1) / n).mean())


def coverage_at(confidence: Tensor, correct: Tensor, risk: float = 0.05) -> float:
    """Return the largest share of cases, the surest, of which no more than `risk` are wrong."""
    held = (risks(confidence, correct) <= risk).nonzero()
    return float(held.max() + 1) / len(correct) if len(held) else 0.0
