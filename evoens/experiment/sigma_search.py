"""The σ of a run: fixed, found with the scope, or where children leave the parent by the trust region's divergence."""

from __future__ import annotations

from collections.abc import Sequence

from evoens.evaluation.evaluator import Evaluator
from evoens.experiment import trust_region
from evoens.experiment.journal import Journal
from evoens.experiment.state import Experiment
from evoens.graph.flops import affordable
from evoens.network.inputs import Inputs, count, shape_of
from evoens.parent import Parent
from evoens.settings.config import TrustRegionSettings

FRAMES, FEWEST = 256, 8  # inputs on which divergence is measured, where the settings do not say
EFFORT = 5e12  # floating-point operations of a search: what two cores do in a minute


def probe(experiment: Experiment, searches: int = 1) -> Inputs:
    """Return the inputs on which divergence is measured, for so many searches."""
    problem = experiment.problem
    return problem.probe(frames(experiment.config.trust_region, problem.parent, shape_of(problem.probe(1)), searches))


def frames(settings: TrustRegionSettings, parent: Parent, shape: Sequence[int], searches: int = 1) -> int:
    """Return how many inputs of `shape` that is: as many as the settings say, else as the network's size allows.

    The size, not the time that it takes here, so that σ is the same whatever else the machine does.
    """
    if settings.frames is not None:
        return settings.frames
    passes = searches * settings.children * len(settings.grid)
    return max(FEWEST, affordable(EFFORT / passes, parent.module, shape, FRAMES))


def settle_sigma(experiment: Experiment, backend: Evaluator, journal: Journal) -> float:
    """Return the scale of the run's new genes: fixed, found with the scope, or searched for once."""
    state = journal.state
    if state.sigma is None:
        state.sigma = _sigma(experiment, backend, journal)
        journal.save()
    if (found := state.trust_region) is not None and not state.generations:
        journal.tell(lambda listener: listener.on_sigma(found))
    return state.sigma


def _sigma(experiment: Experiment, backend: Evaluator, journal: Journal) -> float:
    """Return σ; what a search found for it goes into the run's state."""
    config, strategy = experiment.config, experiment.strategy
    fixed, settings = config.strategy.sigma, config.trust_region
    if journal.state.trust_region is not None:
        return float(journal.state.trust_region["sigma"])  # found with the scope
    if not strategy.scaled:
        return strategy.sigma
    if fixed != "auto":
        return fixed
    journal.stage(f"searching for σ at KL {settings.target_kl}")
    inputs = probe(experiment)
    at = trust_region.divergence(backend.of_born(), strategy, inputs, settings, seed=config.seed)
    rows = trust_region.kl_curve(at, settings, lambda done: journal.progress(done, len(settings.grid), "σ"))
    sigma = trust_region.choose(rows, settings.target_kl)
    journal.state.trust_region = {
        "target_kl": settings.target_kl,
        "sigma": sigma,
        "inputs": count(inputs),
        "rows": [dict(row) for row in rows],
    }
    if not rows[0]["kl"] <= settings.target_kl <= rows[-1]["kl"]:
        ends = f"{rows[0]['sigma']:g} to {rows[-1]['sigma']:g}"
        journal.warn(f"no σ from {ends} reaches KL {settings.target_kl}; {sigma:g} is the nearest end")
    return sigma
