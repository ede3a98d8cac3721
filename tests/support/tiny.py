"""A problem small enough for every test: an MLP of fixed weights on fixed data, three splits, accuracy per case."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoens import noise
from evoens.parent import Architecture, Parent
from evoens.problem import EnsembleObjective, Evaluation, Measure, Problem, Split, SplitName

FEATURES, CLASSES, COUNT = 6, 3, 40
FIRST = {"train": 0, "search": 0, "select": COUNT, "test": 2 * COUNT}


class MLP(nn.Module):
    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.first = nn.Linear(FEATURES, hidden)
        self.last = nn.Linear(hidden, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x)))


def tiny_parent(hidden: int = 16) -> Parent:
    parent = Parent.from_weights(
        Architecture("tiny:MLP", {"hidden": hidden}),
        {name: noise.normals(7, name, weight.shape) * 0.5 for name, weight in MLP(hidden).state_dict().items()},
    )
    return parent


class TinyProblem(Problem):
    """Labels are the parent's own answers on slightly blurred inputs, so that it is right on most cases, not on all."""

    measures = (Measure("accuracy", "accuracy", "accuracy"),)

    def __init__(self, batch: int = 16) -> None:
        self.parent, self.batch = tiny_parent(), batch
        self.inputs = noise.normals(1, "inputs", (3 * COUNT, FEATURES))
        self.labels = self.parent.predict(self.inputs + 0.3 * noise.normals(2, "blur", self.inputs.shape)).argmax(-1)

    def split(self, name: SplitName) -> Split:
        return Split(name, 0, COUNT)

    def cases(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
        first = FIRST[split.name] + split.first
        places = torch.arange(first, first + split.count)
        outputs = []
        for part in places.split(self.batch):
            outputs.append((yield self.inputs[part]))
        right = torch.cat(outputs).argmax(-1) == self.labels[places]
        return Evaluation(right.double(), split.count)

    def probe(self, n: int = 8) -> Tensor:
        return self.inputs[:n]

    def judgement(self, evaluations: Sequence[Evaluation]) -> EnsembleObjective:
        places = torch.arange(FIRST["select"], FIRST["select"] + COUNT)
        return EnsembleObjective(
            self.inputs[places], lambda outputs: -float(F.nll_loss(outputs.log(), self.labels[places]))
        )
