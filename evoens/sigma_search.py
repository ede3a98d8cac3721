"""The σ of a run: fixed, found with the scope, or where children leave the parent by the trust region's divergence."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor

from evoens import trust_region
from evoens.flops import flops
from evoens.parent import Parent
from evoens.settings.config import TrustRegionSettings
from evoens.strategy import as_born

if TYPE_CHECKING:
    from evoens.run import Run


FRAMES, FEWEST = 256, 8  # inputs on which divergence is measured, where the settings do not say
EFFORT = 5e12  # floating-point operations of a search: what two cores do in a minute


def probe(run: Run, searches: int = 1) -> Tensor:
    """Return the inputs on which divergence is measured, for so many searches."""
    problem = run.problem
    return problem.probe(frames(run.config.trust_region, problem.parent, problem.probe(1).shape[1:], searches))


def frames(settings: TrustRegionSettings, parent: Parent, shape: Sequence[int], searches: int = 1) -> int:
    """Return how many inputs of `shape` that is: as many as the settings say, else as the network's size allows.

    The size, not the time that it takes here, so that σ is the same whatever else the machine does.
    """
    if settings.frames is not None:
        return settings.frames
    passes = searches * settings.children * len(settings.grid)
    return max(FEWEST, affordable(EFFORT / passes, parent, shape, FRAMES))


def affordable(effort: float, parent: Parent, shape: Sequence[int], most: int) -> int:
    """Return how many inputs of `shape` go through the network with so many operations: at most `most`, maybe none."""
    with contextlib.suppress(Exception):  # whatever a network finds wrong with plain zeros
        return min(most, int(effort / flops(parent.module, shape)))
    return most


def find_sigma(run: Run) -> float:
    """Return the scale of the run's new genes; what a search found for it goes into the run's state."""
    fixed, settings = run.config.strategy.sigma, run.config.trust_region
    if run.state.trust_region is not None:
        return float(run.state.trust_region["sigma"])  # found with the scope
    if not run.strategy.scaled:
        return run.strategy.sigma
    if fixed != "auto":
        return fixed
    run.reporter.stage(f"searching for σ at KL {settings.target_kl}")
    inputs = probe(run)
    told = run.ticker(len(settings.grid), "σ")
    with as_born(run.problem.parent):
        at = trust_region.divergence(run.evaluator, run.strategy, inputs, settings, seed=run.config.seed)
        rows = trust_region.kl_curve(at, settings, told)
    sigma = trust_region.choose(rows, settings.target_kl)
    run.state.trust_region = {
        "target_kl": settings.target_kl,
        "sigma": sigma,
        "inputs": len(inputs),
        "rows": [dict(row) for row in rows],
    }
    if not rows[0]["kl"] <= settings.target_kl <= rows[-1]["kl"]:
        ends = f"{rows[0]['sigma']:g} to {rows[-1]['sigma']:g}"
        run.warn(f"no σ from {ends} reaches KL {settings.target_kl}; {sigma:g} is the nearest end")
    return sigma
