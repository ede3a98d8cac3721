"""How often members fail together, against what chance would have (Littlewood & Miller 1989; DRE section 2.3)."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoens.diversity.correctness import double_fault, shares
from evoens.errors import ShapeError
from evoens.scoring.metrics import Statistic

Bools = NDArray[np.bool_]


def coincidence(wrong: Bools) -> Statistic:
    """Return how often two members fail together, over how often they would if they failed independently.

    Both are means over all pairs: E[θ_i θ_j] over E[θ_i] E[θ_j], where θ of a case is 1 for a member that fails on it.
    1: as by chance; above it some cases are difficult for all; below it members fail on different cases. Where no two
    could fail together by chance it is NaN.

    Args:
        wrong: whether member i fails on case n, `(k, n)`, k ≥ 2.

    Raises:
        ShapeError: it is not of this shape.
    """
    if wrong.ndim != 2 or len(wrong) < 2 or not wrong.shape[1]:
        raise ShapeError(f"wrong: expected shape (k, n), k ≥ 2 and n ≥ 1, found {wrong.shape}")
    fails = wrong.astype(np.float64)
    failing = fails.sum(0)
    pairs = failing * (failing - 1) / 2  # on each case

    def ratio(places: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the ratio of each draw of cases."""
        counts = np.stack([np.bincount(row, minlength=fails.shape[1]) for row in places]).astype(np.float64)
        n = places.shape[1]
        together, alone = counts @ pairs / n, counts @ fails.T / n
        chance = (alone.sum(1) ** 2 - (alone**2).sum(1)) / 2
        return np.divide(together, chance, out=np.full(len(places), np.nan), where=chance > 0)

    return Statistic(fails.shape[1], ratio)


def pairwise_coincidence(right: Tensor) -> Tensor:
    """Return the same for each pair: the share of cases that both get wrong over the product of their errors, `(k, k)`.

    Args:
        right: bool `(k, n)`. Where a member never fails it is NaN.
    """
    both = double_fault(shares(right, right))
    error = both.diagonal()
    chance = error[:, None] * error[None]
    return torch.where(chance > 0, both / chance, torch.nan)
