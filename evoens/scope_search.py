"""The search for a scope: each layer is tried alone, all at the same divergence from the parent; the best is kept."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evoens.ensemble import Ensemble
from evoens.errors import EvoensError
from evoens.evaluate import Evaluator, Plan
from evoens.genome import Genome
from evoens.problem import answered
from evoens.scope import AUTO
from evoens.sigma_search import probe
from evoens.strategy import as_born, ask
from evoens.trust_region import Row, choose, divergence, kl_curve

if TYPE_CHECKING:
    from evoens.run import Run

Found = dict[str, Any]


def settle_scope(run: Run) -> None:
    """Have the run's children touch the layer that the search finds, once, where the configuration asks for one."""
    if run.config.strategy.scope != AUTO:
        return
    if run.state.scope is None:
        run.state.scope, run.state.trust_region = find_scope(run)
        run.reporter.layers(run.state.scope)
        run.save()
    run.strategy.scope = tuple(run.state.scope["chosen"])


def find_scope(run: Run) -> tuple[Found, Found | None]:
    """Try every tensor that may be perturbed alone, and take the one with the best ensemble on the search split.

    Each has the σ at which its children leave the parent by the KL of the trust region, unless the configuration fixes
    σ. Children that are to be trained are tried as they are born.

    Returns:
        What was tried and `chosen`, for the run's state; and the chosen tensor's trust-region search, if there was one.

    Raises:
        EvoensError: no layer could be tried.
    """
    problem, settings, names = run.problem, run.config.trust_region, run.problem.parent.perturbed
    run.reporter.stage(f"trying each of {len(names)} layers alone")
    with as_born(problem.parent):
        evaluator, inputs = _evaluator(run), probe(run, len(names))
        parent = _cases(run, "no layer", [Genome()], evaluator.device)
        rows, curves = [], {}
        for place, name in enumerate(names):
            row, curves[name] = _tried(run, evaluator, name, inputs, parent)
            rows.append(row)
            run.save()
            run.reporter.progress(place + 1, len(names), "layers")
    alive = [row for row in rows if row["worth"] is not None]
    if not alive:
        raise EvoensError(f"strategy.scope: auto: no layer could be tried; the first: {rows[0]['error']}")
    best = max(alive, key=lambda row: row["worth"])
    search = {"target_kl": settings.target_kl, "inputs": len(inputs)}
    found = {
        **search,
        "children": settings.children,
        "cases": len(parent),
        "unit": problem.aim,
        "parent": float(parent.mean()),
        "rows": rows,
        "chosen": [best["layer"]],
    }
    curve = curves[best["layer"]]
    return found, {**search, "sigma": best["sigma"], "rows": curve} if len(curve) > 1 else None


def _evaluator(run: Run) -> Evaluator:
    return Evaluator(run.problem.parent, run.strategy, run.problem, Plan(), settings=run.config.evaluation)


def _tried(
    run: Run, evaluator: Evaluator, name: str, inputs: Tensor, parent: Tensor
) -> tuple[dict[str, Any], list[Row]]:
    """Return what came of one layer, and the curve on which its σ was found."""
    strategy, settings = run.strategy, run.config.trust_region
    strategy.scope = (name,)
    try:
        at = divergence(evaluator, strategy, inputs, settings, seed=run.config.seed)
        curve = _curve(run, at)
        sigma = choose(curve, settings.target_kl)
        kl = at(sigma)["kl"]
        genomes = ask(strategy, settings.children, Random(f"{run.config.seed}:trust-region"))  # those of the curve
        cases = _cases(run, name, genomes, evaluator.device)
    except EvoensError as error:  # a layer that this Strategy has no children for
        return {"layer": name, "sigma": None, "kl": None, "worth": None, "error": str(error)}, []
    less = (cases - parent).double()
    own = {"worth": float(cases.mean()), "difference": float(less.mean())}
    spread = float(less.std()) / math.sqrt(len(less)) if len(less) > 1 else 0.0
    row = {"layer": name, "sigma": sigma, "kl": kl, **own, "standard_error": spread}
    return (row if math.isfinite(own["worth"]) else {**row, "worth": None, "error": "not a finite number"}), curve


def _curve(run: Run, at: Callable[[float], Row]) -> list[Row]:
    """Return the divergence over σ; one point where σ is fixed."""
    wanted = run.config.strategy.sigma
    if wanted != "auto" or not run.strategy.scaled:
        return [at(run.strategy.sigma if wanted == "auto" else wanted)]
    return kl_curve(at, run.config.trust_region)


def _cases(run: Run, name: str, genomes: list[Genome], device: torch.device) -> Tensor:
    """Return what the ensemble of some children is worth on each case of the search split, float64 `(n,)`."""
    problem, split, rule = run.problem, run.problem.split("search"), run.config.selection.combine
    ensemble = Ensemble(problem.parent, run.strategy, genomes, device, rule=rule, seed=run.config.seed)
    return run.ledger.once(split, f"alone: {name}", lambda: answered(problem.aimed(split), ensemble.predict))
