"""How far the children of a run are apart, by any distance that fitness or selection may weigh."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from evoens.children import child_weights
from evoens.diversity.distances import NO_GRADIENT, of_saliency
from evoens.diversity.measures import MEASURES, of_outputs
from evoens.diversity.pictured import Pictured, logits_fn, pictured
from evoens.errors import EvoensError, about
from evoens.evaluation.backend import Backend
from evoens.experiment.state import Experiment
from evoens.genome import Genome
from evoens.plugins.guest import guest

INPUTS = 256  # on which children's answers are compared, where none are known yet


def pairwise_distances(
    experiment: Experiment,
    backend: Backend,
    genomes: Sequence[Genome],
    measure: str,
    outputs: Tensor | None = None,
) -> Tensor:
    """Return how far each two children are apart, `(k, k)`; from their `outputs` where these are known already."""
    if MEASURES[measure].hash:
        return _by_saliency(experiment, genomes, measure)
    known = backend.outputs(genomes, experiment.problem.probe(INPUTS)) if outputs is None else outputs
    return MEASURES[measure].distances(known)


def _by_saliency(experiment: Experiment, genomes: Sequence[Genome], measure: str) -> Tensor:
    problem, parent = pictured(experiment.problem), experiment.problem.parent
    grown = (child_weights(parent, experiment.strategy, genome, experiment.tuned) for genome in genomes)
    lookers = (logits_fn(problem, parent.child(weights).module) for weights in grown)
    return of_saliency(lookers, problem.pictures(), experiment.config.seed, MEASURES[measure])


def require_distances(experiment: Experiment) -> None:
    """Have the parent looked at, where children are to be bred or chosen by what they look at.

    Raises:
        EvoensError: the problem has no pictures, or the network no gradient by them.
    """
    for name, own in (("search", experiment.config.search), ("selection", experiment.config.selection)):
        if own.diversity:
            require_distance(experiment, name, "diversity_by", own.diversity_by)


def require_distance(experiment: Experiment, section: str, key: str, measure: str) -> None:
    """Have the parent looked at, where this measure, which is at `section.key` of the YAML, needs it.

    Raises:
        EvoensError: the problem has no pictures, or the network no gradient by them.
    """
    if MEASURES[measure].hash is None:
        return
    expected = f"expected one of {', '.join(m.name for m in of_outputs())}, found {measure}"
    with about(section, key), guest(f"{section}.{key}: {expected}: {NO_GRADIENT}", EvoensError):
        if not isinstance(experiment.problem, Pictured):
            raise EvoensError(f"{section}.{key}: {expected}, since the problem has no pictures")
        _by_saliency(experiment, [Genome()], measure)
