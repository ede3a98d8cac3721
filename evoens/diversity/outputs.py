"""How far members differ in what they answer, pair by pair, from their probabilities alone (dissertation 7.1)."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from evoens.errors import ShapeError

TINY = torch.finfo(torch.float32).tiny
BLOCK = 1 << 24  # numbers of either side that are looked at together, so that a thousand members take no more memory


def pairwise_kl(p: Tensor, q: Tensor) -> Tensor:
    """Mean KL(p_i ‖ q_j) over cases for every i and j, in nats (dissertation eq. 7.2).

    Args:
        p: probabilities `(k, n, c)`; rows sum to 1.
        q: probabilities of the same shape; a zero counts as the smallest normal float32, so the mean stays finite.

    Returns:
        `(k, k)` float64.
    """
    cross = _products(p, q, _double, _logarithm)
    rows = [(_double(block) * _logarithm(block)).sum((1, 2)) for block in _blocks(p)]
    return (torch.stack(rows).sum(0)[:, None] - cross) / p.shape[1]


def pairwise_disagreement(p: Tensor, q: Tensor) -> Tensor:
    """Share of cases in which p_i and q_j put different classes first, for every i and j (dissertation eq. 7.3).

    Args:
        p: probabilities `(k, n, c)`.
        q: probabilities of the same shape.

    Returns:
        `(k, k)` float64, 0 to 1.
    """
    agreed = _products(p, q, _first, _first)
    return (p.shape[1] - agreed) / p.shape[1]


def pairwise_correlation(p: Tensor, q: Tensor) -> Tensor:
    """Correlation of p_i and q_j over the classes of a case, averaged over cases (dissertation eq. 7.1), −1 to 1.

    Args:
        p: probabilities `(k, n, c)`; where all classes are equally likely there is none, which counts as 0.
        q: probabilities of the same shape.

    Returns:
        `(k, k)` float64; 1 for members that answer alike.
    """
    return _products(p, q, _standard, _standard) / p.shape[1]


def pairwise_cosine(p: Tensor, q: Tensor) -> Tensor:
    """Cosine of the angle between p_i and q_j, averaged over cases (DRE section 2.2), 0 to 1.

    Args:
        p: probabilities `(k, n, c)`.
        q: probabilities of the same shape.

    Returns:
        `(k, k)` float64; 1 for members that answer alike.
    """
    return _products(p, q, _direction, _direction) / p.shape[1]


def confidence(p: Tensor) -> Tensor:
    """Mean probability of the class that is put first, of each of k members `(k, n, c)`: `(k,)` float64, 1/c to 1."""
    return p.double().amax(-1).mean(-1)


def balance(p: Tensor) -> Tensor:
    """Entropy of how often each class is put first, over its largest: `(k, n, c)` → `(k,)` float64, 0 to 1.

    0 for a member that answers one class alone, 1 for one that answers all equally often (Pielou's evenness).
    """
    shares = torch.nn.functional.one_hot(p.argmax(-1), p.shape[-1]).double().mean(-2)
    entropy: Tensor = torch.special.entr(shares).sum(-1)
    return entropy / math.log(max(2, p.shape[-1]))


def off_diagonal_mean(matrix: Tensor) -> float:
    """Mean over the pairs of different members of `(k, k)` distances.

    Raises:
        ShapeError: fewer than two members, so no pair.
    """
    k = matrix.shape[0]
    if k < 2:
        raise ShapeError(f"diversity: expected at least 2 members, found {k}")
    return float((matrix.sum() - matrix.diagonal().sum()) / (k * (k - 1)))


def _products(p: Tensor, q: Tensor, left: Callable[[Tensor], Tensor], right: Callable[[Tensor], Tensor]) -> Tensor:
    """Sum left(p_i) · right(q_j) over cases and classes for every i and j: `(k, k)` float64."""
    if p.dim() != 3 or p.shape != q.shape:
        raise ShapeError(f"outputs: expected two of shape (k, n, c), found {tuple(p.shape)} and {tuple(q.shape)}")
    sides = zip(_blocks(p), _blocks(q), strict=True)
    return torch.stack([(left(a).flatten(1) @ right(b).flatten(1).T).double() for a, b in sides]).sum(0)


def _blocks(outputs: Tensor) -> tuple[Tensor, ...]:
    k, _, classes = outputs.shape
    return torch.split(outputs, max(1, BLOCK // max(1, k * classes)), dim=1)


def _double(p: Tensor) -> Tensor:
    return p.double()


def _logarithm(p: Tensor) -> Tensor:
    return p.double().clamp_min(TINY).log()


def _first(p: Tensor) -> Tensor:
    """One for the class put first, 0 for the others; sums of them are exact in float32 within a block."""
    return torch.nn.functional.one_hot(p.argmax(-1), p.shape[-1]).float()


def _direction(p: Tensor) -> Tensor:
    return torch.nn.functional.normalize(p.double(), dim=-1)


def _standard(p: Tensor) -> Tensor:
    p = p.double()
    centred = p - p.mean(-1, keepdim=True)
    length = centred.norm(dim=-1, keepdim=True)
    return torch.where(length > torch.finfo(torch.float32).eps, centred / length, 0)
