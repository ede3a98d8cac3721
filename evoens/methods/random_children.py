"""Random children as a competitor: an ensemble of as many, without any search or selection."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from random import Random

from evoens.methods.base import Evolved, Fitted, Method
from evoens.parent import Predictor
from evoens.progress import OnProgress


class RandomChildren(Method):
    """Several draws of k children of the first generation, the parent beside them where it is among the members."""

    name = "random_children"

    def fit(self, evolved: Evolved, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Method`."""
        draws, voting = evolved.config.report.random_draws, evolved.config.selection.parent
        about = {"size": len(evolved.members), "parent": voting, "draws": draws, "of": "first generation"}
        return Fitted([partial(_predictor, evolved, draw) for draw in range(draws)], about)


def _predictor(evolved: Evolved, draw: int) -> Predictor:
    pool, parent = list(evolved.unselected), [genome for genome in evolved.members if not genome.genes]
    k = min(len(evolved.members) - len(parent), len(pool))
    drawn = Random(f"{evolved.config.seed}:random-children:{draw}").sample(pool, k)
    return evolved.ensemble(drawn + parent).predict
