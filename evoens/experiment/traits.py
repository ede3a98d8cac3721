"""What children are like beside their score: the objectives of a multi-objective search, the measures of an archive."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from evoens.children import child_weights
from evoens.diversity.behaviour import behaviours
from evoens.diversity.distances import mean_to_others
from evoens.diversity.measures import MEASURES
from evoens.errors import EvoensError, about, nearest
from evoens.evaluation.backend import Backend, Outcome
from evoens.experiment.distances import INPUTS, pairwise_distances, require_distance
from evoens.experiment.state import Experiment
from evoens.genome import Genome

NLL = "nll"


def traits(
    experiment: Experiment, backend: Backend, names: Sequence[str], outcomes: Sequence[Outcome]
) -> list[dict[str, float]]:
    """Return what each child is by each of `names`; of measured children, all of one generation.

    What children answer is looked at on the same inputs of the search split for all, once for whatever needs it.
    """
    genomes = [outcome.genome for outcome in outcomes]
    answers = list[Tensor]()

    def outputs() -> Tensor:
        if not answers:
            answers.append(backend.outputs([Genome(), *genomes], experiment.problem.probe(INPUTS)))
        return answers[0]

    def values(name: str) -> list[float]:
        """Return what each child is by one name."""
        if name in _OWN:
            return _OWN[name](experiment, backend, outcomes)
        if (behaviour := behaviours()[name]).function:
            found = behaviour.of(outputs()[1:])
        else:
            known = None if MEASURES[name].hash else outputs()
            found = pairwise_distances(experiment, backend, [Genome(), *genomes], name, known)[0, 1:]
        return list(map(float, found))

    columns = {name: values(name) for name in names}
    return [{name: column[place] for name, column in columns.items()} for place in range(len(genomes))]


def require_traits(experiment: Experiment, names: Sequence[str]) -> None:
    """Refuse what cannot be known of this problem's children.

    Raises:
        EvoensError: there is no such trait, cases have no labels, or nothing can be looked at.
    """
    own = experiment.config.search
    for name in names:
        if name not in _OWN and name not in behaviours():
            known = [*_OWN, *behaviours()]
            raise EvoensError(f"search.by: expected traits of {', '.join(known)}, found {name}{nearest(name, known)}")
        if name == NLL and NLL not in experiment.problem.beside_the_score:
            with about("search", "objectives"):
                raise EvoensError("search.objectives: nll: expected a problem whose cases have labels, found another")
        if name in MEASURES:
            require_distance(experiment, "search", "measures", name)
        if name == "diversity":
            require_distance(experiment, "search", "diversity_by", own.diversity_by)


def _diversity(experiment: Experiment, backend: Backend, outcomes: Sequence[Outcome]) -> list[float]:
    """The mean distance to the other children of the generation."""
    genomes = [outcome.genome for outcome in outcomes]
    by = experiment.config.search.diversity_by
    found: list[float] = mean_to_others(pairwise_distances(experiment, backend, genomes, by)).tolist()
    return found


def _nll(experiment: Experiment, backend: Backend, outcomes: Sequence[Outcome]) -> list[float]:
    """The mean negative log-likelihood on the search split, in nats."""
    return [float(o.evaluation.extra_metrics[NLL].mean()) for o in outcomes if o.evaluation is not None]


def _sparsity(experiment: Experiment, backend: Backend, outcomes: Sequence[Outcome]) -> list[float]:
    """The share of the weights that are as in the parent, 0 to 1, of those that noise may fall on."""
    parent, found = experiment.problem.parent, list[float]()
    for outcome in outcomes:
        weights = child_weights(parent, experiment.strategy, outcome.genome, experiment.tuned)
        same = torch.stack([(weights[name] == parent.weights[name]).sum() for name in parent.perturbed]).sum()
        found.append(float(same) / sum(parent.weights[name].numel() for name in parent.perturbed))
    return found


def _size(experiment: Experiment, backend: Backend, outcomes: Sequence[Outcome]) -> list[float]:
    """The number of genes."""
    return [float(len(outcome.genome.genes)) for outcome in outcomes]


_OWN: dict[str, Callable[[Experiment, Backend, Sequence[Outcome]], list[float]]] = {
    "diversity": _diversity,
    NLL: _nll,
    "sparsity": _sparsity,
    "size": _size,
}
