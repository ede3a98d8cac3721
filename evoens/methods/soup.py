"""The soup as a competitor: one network, the mean of the members' weights (Wortsman et al. 2022)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from evoens.children import child_weights
from evoens.methods.base import Evolved, Fitted, Method
from evoens.methods.trained_on import TrainableFurther, alone
from evoens.parent import Parent, Predictor
from evoens.progress import OnProgress


class Soup(Method):
    """The members' uniform soup: as many frames as the ensemble's, and the price of one network to ask."""

    name = "soup"

    def fit(self, evolved: Evolved, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Method`; without children that learn by play it has nothing to say."""
        if evolved.tuned is None or not isinstance(evolved.problem, TrainableFurther):
            return Fitted()
        size = len(evolved.members)
        return Fitted([lambda: _predictor(evolved)], {"label": f"the mean weights of {size}, a soup"})


def _predictor(evolved: Evolved) -> Predictor:
    parent = evolved.problem.parent
    members = [
        {**parent.weights, **child_weights(parent, evolved.strategy, genome, evolved.tuned)}
        for genome in evolved.members
    ]
    return alone(evolved, Parent.from_weights(parent.architecture, mean_weights(members)))


def mean_weights(members: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return each weight's mean over the members that keep it; zero where none does.

    A member that has pruned a weight has nothing to say of it: a plain mean of a mask's and its anti-mask's child would
    halve every weight of their layers.
    """
    found = {}
    for name, first in members[0].items():
        weights = torch.stack([member[name].double() for member in members])
        found[name] = (weights.sum(0) / weights.count_nonzero(0).clamp(min=1)).to(first.dtype)
    return found
