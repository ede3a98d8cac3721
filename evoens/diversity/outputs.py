"""How far members differ in what they answer: KL divergence and disagreement, pair by pair (dissertation 7.1)."""

from __future__ import annotations

import torch
from torch import Tensor

from evoens.errors import ShapeError

TINY = torch.finfo(torch.float32).tiny


def pairwise_kl(p: Tensor, q: Tensor) -> Tensor:
    """Mean KL(p_i ‖ q_j) over cases for every i and j, in nats (eq. 7.2).

    Args:
        p: probabilities `(k, n, c)`; rows sum to 1.
        q: probabilities of the same shape; a zero counts as the smallest normal float32, so the mean stays finite.

    Returns:
        `(k, k)` float64.
    """
    _same_shape(p, q)
    p, log_q = p.double(), q.double().clamp_min(TINY).log()
    negative_entropy = (p * p.clamp_min(TINY).log()).sum((1, 2))
    cross = torch.einsum("inc,jnc->ij", p, log_q)
    return (negative_entropy[:, None] - cross) / p.shape[1]


def pairwise_disagreement(p: Tensor, q: Tensor) -> Tensor:
    """Share of cases in which p_i and q_j put different classes first, for every i and j (eq. 7.3).

    Args:
        p: probabilities `(k, n, c)`.
        q: probabilities of the same shape.

    Returns:
        `(k, k)` float64, 0 to 1.
    """
    _same_shape(p, q)
    return (p.argmax(-1)[:, None] != q.argmax(-1)[None]).double().mean(-1)


def off_diagonal_mean(matrix: Tensor) -> float:
    """Mean over the pairs of different members of `(k, k)` distances.

    Raises:
        ShapeError: fewer than two members, so no pair.
    """
    k = matrix.shape[0]
    if k < 2:
        raise ShapeError(f"diversity: expected at least 2 members, found {k}")
    return float((matrix.sum() - matrix.diagonal().sum()) / (k * (k - 1)))


def _same_shape(p: Tensor, q: Tensor) -> None:
    if p.dim() != 3 or p.shape != q.shape:
        raise ShapeError(f"outputs: expected two of shape (k, n, c), found {tuple(p.shape)} and {tuple(q.shape)}")
