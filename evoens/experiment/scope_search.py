"""The search for a scope: each layer is tried alone, all at the same divergence from the parent; the best is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import Any

from torch import Tensor

from evoens.ensemble import Ensemble
from evoens.errors import EvoensError
from evoens.evaluation.evaluator import Evaluator, Plan
from evoens.experiment.journal import Journal
from evoens.experiment.sigma_search import probe
from evoens.experiment.state import Experiment
from evoens.experiment.trust_region import Row, choose, divergence, kl_curve
from evoens.genome import Genome
from evoens.graph.flops import affordable
from evoens.network.inputs import count, shape_of
from evoens.problem import FixedInputs, Split, drive
from evoens.scope import AUTO
from evoens.strategy import ask

EFFORT, FEWEST = 5e13, 32  # floating-point operations of all layers' ensembles, ten minutes of two cores; cases of each

Found = dict[str, Any]


def settle_scope(experiment: Experiment, journal: Journal) -> tuple[str, ...]:
    """Return which tensors children touch: the layer that a search finds, once, where the configuration asks for it."""
    state = journal.state
    if experiment.config.strategy.scope != AUTO:
        return experiment.strategy.scope
    if state.scope is None:
        found, state.trust_region = find_scope(experiment, journal)
        state.scope = found
        journal.tell(lambda listener: listener.on_scope(found))
        journal.save()
    return tuple(state.scope["chosen"])


def find_scope(experiment: Experiment, journal: Journal) -> tuple[Found, Found | None]:
    """Try every tensor that may be perturbed alone, and take the one with the best ensemble on the search split.

    Each has the σ at which its children leave the parent by the KL of the trust region, unless the configuration fixes
    σ. Children that are to be trained are tried as they are born. Of the search split a large network sees a part.

    Returns:
        What was tried and `chosen`, for the run's state; and the chosen tensor's trust-region search, if there was one.

    Raises:
        EvoensError: no layer could be tried.
    """
    problem, settings, names = experiment.problem, experiment.config.trust_region, experiment.problem.parent.perturbed
    trials = _Trials(experiment, journal)
    journal.stage(f"trying each of {len(names)} layers alone, on {trials.split.count} cases")
    parent = trials.cases("no layer", [Genome()])
    rows, curves = [], {}
    for name in names:
        row, curves[name] = trials.tried(name, parent)
        rows.append(row)
        journal.save()
    alive = [row for row in rows if row["worth"] is not None]
    if not alive:
        raise EvoensError(f"strategy.scope: auto: no layer could be tried; the first: {rows[0]['error']}")
    best = max(alive, key=lambda row: row["worth"])
    search = {"target_kl": settings.target_kl, "inputs": count(trials.inputs)}
    found = {
        **search,
        "children": settings.children,
        "cases": len(parent),
        "unit": problem.ensemble_metric,
        "parent": float(parent.mean()),
        "rows": rows,
        "chosen": [best["layer"]],
    }
    curve = curves[best["layer"]]
    return found, {**search, "sigma": best["sigma"], "rows": curve} if len(curve) > 1 else None


class _Trials:
    """Children of one layer after another, measured on the same recorded `inputs` and the same cases: `split`."""

    def __init__(self, experiment: Experiment, journal: Journal) -> None:
        self.experiment, self.journal, self.settings = experiment, journal, experiment.config.trust_region
        problem, strategy, own = experiment.problem, experiment.strategy, experiment.config.evaluation
        names = problem.parent.perturbed
        self.backend = Evaluator(problem.parent, strategy, problem, Plan(), settings=own, measuring=journal.measuring)
        self.inputs = probe(experiment, len(names))
        self.split = self._cases(len(names))
        self._done, self._steps = 0, len(names) * (len(self.settings.grid) + 1)

    def _cases(self, layers: int) -> Split:
        """Return the cases of the search split that so many layers' ensembles are measured on."""
        problem, whole = self.experiment.problem, self.experiment.problem.split("search")
        if not isinstance(problem, FixedInputs):
            return whole
        effort = EFFORT / (layers * self.settings.children)
        return whole.part(0, max(FEWEST, affordable(effort, problem.parent.module, shape_of(self.inputs), whole.count)))

    def tried(self, name: str, parent: Tensor) -> tuple[dict[str, Any], list[Row]]:
        """Return what came of one layer, and the curve on which its σ was found."""
        strategy, seed = self.experiment.strategy.within(scope=(name,)), self.experiment.config.seed
        ends = self._done + len(self.settings.grid) + 1
        try:
            at = divergence(self.backend, strategy, self.inputs, self.settings, seed=seed)
            curve = self._curve(at)
            sigma = choose(curve, self.settings.target_kl)
            kl = at(sigma)["kl"]
            draw = Random(f"{seed}:trust-region")  # as for the curve
            genomes = ask(strategy.within(sigma=sigma), self.settings.children, draw)
            cases = self.cases(name, genomes)
        except EvoensError as error:  # a layer that this Strategy has no children for
            return {"layer": name, "sigma": None, "kl": None, "worth": None, "error": str(error)}, []
        finally:
            self._tell(ends)
        less = (cases - parent).double()
        own = {"worth": float(cases.mean()), "difference": float(less.mean())}
        spread = float(less.std()) / math.sqrt(len(less)) if len(less) > 1 else 0.0
        row = {"layer": name, "sigma": sigma, "kl": kl, **own, "standard_error": spread}
        return (row if math.isfinite(own["worth"]) else {**row, "worth": None, "error": "not a finite number"}), curve

    def _curve(self, at: Callable[[float], Row]) -> list[Row]:
        """Return the divergence over σ; one point where σ is fixed."""
        wanted, strategy, first = self.experiment.config.strategy.sigma, self.experiment.strategy, self._done
        if wanted != "auto" or not strategy.scaled:
            return [at(strategy.sigma if wanted == "auto" else wanted)]
        return kl_curve(at, self.settings, lambda done: self._tell(first + done))

    def _tell(self, done: int) -> None:
        self._done = done
        self.journal.progress(done, self._steps, "σ, then the ensemble, of each layer")

    def cases(self, name: str, genomes: list[Genome]) -> Tensor:
        """Return what the ensemble of some children is worth on each of the cases, float64 `(n,)`."""
        experiment, split = self.experiment, self.split
        problem, own, device = experiment.problem, experiment.config.selection, self.backend.device
        seed = experiment.config.seed
        ensemble = Ensemble(problem.parent, experiment.strategy, genomes, device, rule=own.combine, seed=seed)
        with self.backend.measuring.alone(f"the ensemble of {name}"):
            name = f"alone: {name}"
            return self.journal.ledger.get_or_run(
                split, name, lambda: drive(problem.ensemble_cases(split), ensemble.predict)
            )
