"""How far members differ in which cases they get right, pair by pair (DRE section 2.2; Kuncheva & Whitaker 2003)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evoens.errors import ShapeError

EXACT = 1 << 22  # cases counted in float32 at once, which is exact up to 2²⁴


@dataclass(frozen=True, slots=True)
class Shares:
    """For every i and j the share of cases that both get right, only i, only j, and neither: `(k, k)` float64 each."""

    both: Tensor
    first: Tensor
    second: Tensor
    neither: Tensor


def shares(a: Tensor, b: Tensor) -> Shares:
    """Return how often which of two members is right: N¹¹, N¹⁰, N⁰¹ and N⁰⁰, each divided by their sum.

    Args:
        a: bool `(k, n)`, whether member i gets case n right.
        b: the same of the members on the other side; `a` itself, for the pairs of one set.

    Raises:
        ShapeError: they are not of this shape, or there is no case.
    """
    for right in (a, b):
        if right.dim() != 2 or right.dtype != torch.bool or right.shape != a.shape or not right.shape[1]:
            raise ShapeError(f"right: expected two bool (k, n), n ≥ 1, found {right.dtype} {tuple(right.shape)}")
    n = a.shape[1]
    sides = zip(torch.split(a, EXACT, dim=1), torch.split(b, EXACT, dim=1), strict=True)
    both = torch.stack([(x.float() @ y.float().T).double() for x, y in sides]).sum(0)
    first, second = a.sum(1)[:, None] - both, b.sum(1)[None] - both
    return Shares(both / n, first / n, second / n, (n - both - first - second) / n)


def correctness_disagreement(s: Shares) -> Tensor:
    """Share of cases that exactly one of the two gets right (DRE eq. 4): `(k, k)`, 0 to 1."""
    return s.first + s.second


def double_fault(s: Shares) -> Tensor:
    """Share of cases that both get wrong (Giacinto & Roli 2001): `(k, k)`, 0 to 1; the diagonal is a member's error."""
    return s.neither


def q_statistic(s: Shares) -> Tensor:
    """Yule's Q, (N¹¹N⁰⁰ − N⁰¹N¹⁰) / (N¹¹N⁰⁰ + N⁰¹N¹⁰): `(k, k)`, −1 to 1, 0 where members fail independently.

    Where both products are 0 it is 1 for two that never differ, and 0 for others: nothing tells how they hang together.
    """
    alike, apart = s.both * s.neither, s.first * s.second
    return _or_alike(alike - apart, alike + apart, s)


def correctness_correlation(s: Shares) -> Tensor:
    """The correlation ρ of being right: `(k, k)`, −1 to 1, 0 where members fail independently.

    Where a member gets all cases right, or none, it is 1 for two that never differ, and 0 for others.
    """
    row, column = s.both + s.first, s.both + s.second
    spread = (row * (1 - row) * column * (1 - column)).clamp_min(0).sqrt()
    return _or_alike(s.both * s.neither - s.first * s.second, spread, s)


def _or_alike(above: Tensor, below: Tensor, s: Shares) -> Tensor:
    """Divide; where there is nothing to divide by, 1 if the two never differ, else 0."""
    never = (correctness_disagreement(s) == 0).to(above.dtype)
    return torch.where(below > 1e-15, above / below.clamp_min(1e-15), never)
