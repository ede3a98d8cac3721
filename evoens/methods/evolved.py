"""The evolved ensemble as a competitor: the members that selection has chosen."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from evoens.ensemble import Ensemble
from evoens.genome import Genome
from evoens.methods.base import Evolved, Fitted, Method
from evoens.parent import Predictor
from evoens.progress import OnProgress
from evoens.scoring.combine import combine


class EvolvedEnsemble(Method):
    """What the run is for; its members are measured with it where that costs nothing."""

    name = "ensemble"

    def fit(self, evolved: Evolved, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Method`."""
        members, selection = evolved.members, evolved.config.selection
        alone = [genome for genome in dict.fromkeys(members) if genome.genes]  # the parent is measured anyway
        return Fitted(
            [lambda: evolved.ensemble(members).predict],
            {
                "size": len(members),
                "parent": selection.parent,
                "members": [genome.key for genome in members],
                "rule": selection.rule,
            },
            [genome.key for genome in alone],
            lambda: _with_members(evolved.ensemble(members), alone),
        )


def _with_members(ensemble: Ensemble, alone: Sequence[Genome]) -> Predictor:
    """Let an ensemble answer with the probabilities of these members, `(1 + k, n, c)`."""
    return partial(_answer, ensemble, [ensemble.genomes.index(genome) for genome in alone])


def _answer(ensemble: Ensemble, places: Sequence[int], inputs: Tensor) -> Tensor:
    outputs = ensemble.outputs(inputs)
    return torch.cat([combine(outputs, ensemble.rule, seed=ensemble.seed)[None], outputs[places]])
