"""The σ of a run: fixed, found with the scope, or where children leave the parent by the trust region's divergence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evoens import trust_region
from evoens.strategy import as_born

if TYPE_CHECKING:
    from evoens.run import Run


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
    inputs = run.problem.probe(settings.frames)
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
