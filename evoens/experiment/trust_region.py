"""The trust-region search for σ: the scale at which children leave the parent by a given divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import TypedDict

import torch
from torch import Tensor

from evoens.evaluation.evaluator import Evaluator
from evoens.genome import Genome
from evoens.network.inputs import Inputs
from evoens.settings.config import TrustRegionSettings
from evoens.strategy import Strategy, ask

BEYOND = 4  # times the grid is doubled, and halved, where it does not reach the target


class Row(TypedDict):
    """One σ of the curve: mean KL(parent ‖ child) in nats, its range over children, how often both act alike."""

    sigma: float
    kl: float
    kl_range: tuple[float, float]
    agreement: float


def divergence(
    evaluator: Evaluator, strategy: Strategy, inputs: Inputs, settings: TrustRegionSettings, *, seed: int
) -> Callable[[float], Row]:
    """Return what measures the children's divergence on recorded `inputs` at a σ (dissertation eq. 4.5).

    The same draws serve at every σ, so the curve shows the scale and not the luck of the draw; and what comes before
    the first tensor that they touch is computed once for all σ, as far as it fits in `evaluation.memory`.
    """
    kept = evaluator.room(strategy)
    parent = evaluator.outputs([Genome()], inputs, kept=kept)[0].double()

    def at(sigma: float) -> Row:
        """Measure the divergence of children of this σ."""
        with evaluator.measuring.alone(f"σ {sigma:g}" + "".join(f" of {name}" for name in strategy.scope)):
            genomes = ask(strategy.within(sigma=sigma), settings.children, Random(f"{seed}:trust-region"))
            return _row(sigma, parent, evaluator.outputs(genomes, inputs, kept=kept).double())

    return at


def kl_curve(
    at: Callable[[float], Row], settings: TrustRegionSettings, on_row: Callable[[int], None] = lambda _: None
) -> list[Row]:
    """Measure the divergence at every σ of the grid, and beyond its ends where it does not reach the target.

    Args:
        at: measures one σ, see `divergence`.
        settings: have the grid and the target.
        on_row: told after each σ of the grid how many are done.

    Returns:
        The curve, from the smallest σ to the largest.
    """
    rows = []
    for sigma in sorted(settings.grid):
        rows.append(at(sigma))
        on_row(len(rows))
    first, last = rows[0]["sigma"], rows[-1]["sigma"]
    while rows[-1]["kl"] < settings.target_kl and rows[-1]["sigma"] < last * 2**BEYOND:
        rows.append(at(rows[-1]["sigma"] * 2))
    while rows[0]["kl"] > settings.target_kl and rows[0]["sigma"] > first / 2**BEYOND:
        rows.insert(0, at(rows[0]["sigma"] / 2))
    return rows


def _row(sigma: float, parent: Tensor, children: Tensor) -> Row:
    kl = (torch.xlogy(parent, parent) - torch.xlogy(parent, children)).sum(-1).mean(-1)
    alike = (children.argmax(-1) == parent.argmax(-1)).double().mean()
    return Row(sigma=sigma, kl=float(kl.mean()), kl_range=(float(kl.min()), float(kl.max())), agreement=float(alike))


def choose(rows: Sequence[Row], target: float) -> float:
    """Return the σ at which the curve reaches `target`, between grid points on a log–log line, to three digits.

    A curve that never reaches the target gives its largest σ, one that starts above it its smallest.
    """
    below = [row for row in rows if row["kl"] <= target]
    above = [row for row in rows if row["kl"] > target]
    if not above:
        return max(row["sigma"] for row in rows)
    high = min(above, key=lambda row: row["sigma"])
    left = [row for row in below if row["sigma"] < high["sigma"] and row["kl"] > 0]
    if not left:
        return min(row["sigma"] for row in rows)
    low = max(left, key=lambda row: row["sigma"])
    share = math.log(target / low["kl"]) / math.log(high["kl"] / low["kl"])
    return float(f"{low['sigma'] * (high['sigma'] / low['sigma']) ** share:.3g}")
