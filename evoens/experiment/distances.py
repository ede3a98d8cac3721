"""How far the children of a run are apart, by any distance that fitness or selection may weigh."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from evoens.diversity.distances import NO_GRADIENT, OF_OUTPUTS, of_saliency
from evoens.errors import EvoensError, about
from evoens.evaluation.evaluator import Evaluator
from evoens.experiment.state import Experiment
from evoens.genome import Genome
from evoens.plugins.guest import guest
from evoens.settings.diversity import Distance
from evoens.strategy import grow

INPUTS = 256  # on which children's answers are compared, where none are known yet


def pairwise_distances(
    experiment: Experiment,
    backend: Evaluator,
    genomes: Sequence[Genome],
    distance: Distance,
    outputs: Tensor | None = None,
) -> Tensor:
    """Return how far each two children are apart, `(k, k)`; from their `outputs` where these are known already."""
    if distance not in OF_OUTPUTS:
        return _by_saliency(experiment, genomes, distance)
    known = backend.outputs(genomes, experiment.problem.probe(INPUTS)) if outputs is None else outputs
    return OF_OUTPUTS[distance](known)


def _by_saliency(experiment: Experiment, genomes: Sequence[Genome], distance: Distance) -> Tensor:
    problem, parent = experiment.problem, experiment.problem.parent
    lookers = (problem.looker(parent.child(grow(parent, experiment.strategy, genome)).module) for genome in genomes)
    return of_saliency(lookers, problem.pictures(), experiment.config.seed, distance)


def require_distances(experiment: Experiment) -> None:
    """Have the parent looked at, where children are to be bred or chosen by what they look at.

    Raises:
        EvoensError: the network has no gradient by its inputs.
    """
    for name, own in (("search", experiment.config.search), ("selection", experiment.config.selection)):
        if not own.diversity or own.diversity_by in OF_OUTPUTS:
            continue
        expected = f"expected one of {', '.join(OF_OUTPUTS)}, found {own.diversity_by}"
        with about(name, "diversity_by"), guest(f"{name}.diversity_by: {expected}: {NO_GRADIENT}", EvoensError):
            _by_saliency(experiment, [Genome()], own.diversity_by)
