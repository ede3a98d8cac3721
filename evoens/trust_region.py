"""The trust-region search for σ: the scale at which children leave the parent by a given divergence."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from random import Random
from typing import TypedDict

import torch
from torch import Tensor

from evoens.evaluate import Evaluator
from evoens.genome import Genome
from evoens.settings.config import TrustRegionSettings
from evoens.strategy import Strategy


class Row(TypedDict):
    """One σ of the curve: mean KL(parent ‖ child) in nats, its range over children, how often both act alike."""

    sigma: float
    kl: float
    kl_range: tuple[float, float]
    agreement: float


def kl_curve(
    evaluator: Evaluator,
    strategy: Strategy,
    inputs: Tensor,
    settings: TrustRegionSettings,
    *,
    seed: int,
    on_row: Callable[[int], None],
) -> list[Row]:
    """Measure the children's divergence on recorded `inputs` for every σ of the grid (dissertation eq. 4.5).

    The same draws serve at every σ, so the curve shows the scale and not the luck of the draw.
    """
    parent = evaluator.outputs([Genome()], inputs)[0].double()
    rows = []
    for place, sigma in enumerate(settings.grid):
        strategy.sigma = sigma
        genomes = strategy.ask(settings.children, Random(f"{seed}:trust-region"))
        rows.append(_row(sigma, parent, evaluator.outputs(genomes, inputs).double()))
        on_row(place + 1)
    return rows


def _row(sigma: float, parent: Tensor, children: Tensor) -> Row:
    kl = (torch.xlogy(parent, parent) - torch.xlogy(parent, children)).sum(-1).mean(-1)
    alike = (children.argmax(-1) == parent.argmax(-1)).double().mean()
    return Row(sigma=sigma, kl=float(kl.mean()), kl_range=(float(kl.min()), float(kl.max())), agreement=float(alike))


def choose(rows: Sequence[Row], target: float) -> float:
    """Return the σ at which the curve reaches `target`, between grid points on a log–log line, to three digits.

    A curve that never reaches the target gives the grid's largest σ, one that starts above it the smallest.
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
