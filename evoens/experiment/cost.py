"""What a run has cost, and what its ensemble costs to keep and to ask, beside the parent."""

from __future__ import annotations

import resource
import sys
from collections.abc import Callable
from typing import Any

from torch import nn

from evoens.children import touched
from evoens.ensemble import Ensemble
from evoens.errors import EvoensError
from evoens.experiment.journal import Journal
from evoens.experiment.state import Experiment
from evoens.graph.cut import cut
from evoens.graph.flops import flops, nonzero_flops
from evoens.network.inputs import shape_of
from evoens.parent import Parent
from evoens.plugins.guest import guest


def cost(experiment: Experiment, journal: Journal, ensemble: Ensemble) -> dict[str, Any]:
    """Return what report.json says of the cost: of the search, of training, and of a prediction."""
    journal.save()  # brings the seconds up to date
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
    seconds, shape = journal.state.seconds, shape_of(experiment.problem.probe(1))
    return {
        "evaluations": journal.ledger.evaluations,
        "samples": journal.ledger.samples,
        "seconds": round(seconds, 1),
        "samples_per_second": round(journal.ledger.samples / seconds, 1),
        "peak_rss_mb": round(peak, 1),
        **training(experiment, journal),
        "flops": {
            "parent": counted(experiment.problem.parent.module, shape),
            "ensemble": ensemble_flops(ensemble, shape),
            "shrunk": shrunk_flops(ensemble, shape),
            "nonzero": answer_flops(ensemble, shape),
            **_training_flops(experiment),
        },
        "weights": {"parent": _weights(experiment.problem.parent), "ensemble": stored_weights(ensemble)},
    }


def training(experiment: Experiment, journal: Journal) -> dict[str, dict[str, int | None]]:
    """Return the parent's epochs, as its card says, and all children's together; and the frames of those that play."""
    card, problem = experiment.parent_card, experiment.problem
    trained = sum(row["status"] == "ok" for row in journal.state.population)
    found = {"epochs": {"parent": card.get("epochs"), "children": trained * problem.epochs}}
    if problem.tuned_frames:
        found["frames"] = {"parent": card.get("steps"), "children": trained * problem.tuned_frames}
    return found


def counted(
    module: nn.Module, shape: tuple[int, ...], count: Callable[[nn.Module, tuple[int, ...]], int] = flops
) -> int | None:
    """Return the operations of one prediction of one input, None where they cannot be counted."""
    try:
        with guest("the network"):
            return count(module, shape)
    except EvoensError:  # an operation that cannot be run on zeros: no figure, rather than no report
        return None


def ensemble_flops(ensemble: Ensemble, shape: tuple[int, ...]) -> int | None:
    """Return the operations of one prediction of one input of this `shape`: what members share counts once."""
    parent = ensemble.parent
    whole = counted(parent.module, shape)
    members = list(dict.fromkeys(ensemble.genomes))
    changed = touched(parent, (ensemble.weights(genome) for genome in members))
    found = None if parent.whole.get(changed) else cut(parent.module, changed)
    shared = counted(found.trunk, shape) if found else 0
    if whole is None or shared is None:
        return None
    return shared + len(members) * (whole - shared)


def shrunk_flops(ensemble: Ensemble, shape: tuple[int, ...]) -> int | None:
    """Return the same of an ensemble of tuned members as `Ensemble.modules(shrunk=True)` gives them."""
    if ensemble.tuned is None:
        return None
    try:
        modules = dict(zip(ensemble.genomes, ensemble.modules(shrunk=True), strict=True))  # one that is twice is once
    except EvoensError:  # a network that cannot be traced cannot be shrunk
        return None
    found = [counted(module, shape) for module in modules.values()]
    return None if None in found else sum(n for n in found if n is not None)


def answer_flops(ensemble: Ensemble, shape: tuple[int, ...]) -> int | None:
    """Return the operations of one prediction, of tuned members those of the weights that they keep."""
    if ensemble.tuned is None:
        return ensemble_flops(ensemble, shape)
    found = [counted(ensemble.member(genome), shape, nonzero_flops) for genome in dict.fromkeys(ensemble.genomes)]
    return None if None in found else sum(n for n in found if n is not None)


def _training_flops(experiment: Experiment) -> dict[str, dict[str, float | None]]:
    """The operations of the parent's training, as its card has them, and of all children's: by weights that took part.

    None where they are not known; nothing where nothing is learnt from examples.
    """
    curve, tuned = experiment.parent_card.get("curve", ()), experiment.tuned
    parent = sum(row["flops"] for row in curve) if curve and all("flops" in row for row in curve) else None
    children = 0.0 if tuned is None else tuned.spent().get("flops")
    return {"training": {"parent": parent, "children": children}}


def stored_weights(ensemble: Ensemble) -> int:
    """Return how many numbers must be kept: the parent's, or those that are not zero of each tuned member."""
    if ensemble.tuned is None:
        return _weights(ensemble.parent)
    grown = (ensemble.weights(genome) for genome in dict.fromkeys(ensemble.genomes))
    return sum(int(weight.count_nonzero()) for own in grown for weight in own.values())


def _weights(parent: Parent) -> int:
    return sum(weight.numel() for weight in parent.weights.values())
