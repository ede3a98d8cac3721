"""A task in one file, of text: how rich its vocabulary is, few or many different tokens; no pictures anywhere."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn

from evoens.architecture import Architecture
from evoens.parent import Parent
from evoens.plugins.own_code import read_code
from evoens.settings.base import Natural, ParentSettings, ProblemSettings
from evoens.settings.classification import TrainSettings
from evoens.settings.config import Config
from evoens.tasks.labelled import LabelledProblem
from evoens.tasks.sgd import Examples
from evoens.tasks.supervised import SupervisedTask
from evoens.tasks.tensors import Tensors, read_tensors

SPLITS = ("train", "search", "select", "test")


class TokenSettings(ProblemSettings):
    """Texts of random tokens."""

    length: Natural = 16
    """Tokens of a text."""
    tokens: Natural = 20
    """How many different ones there are."""
    texts: Natural = 1000
    """Of each split that is measured; four times as many are learnt from."""


class TokenParent(ParentSettings):
    """The encoder, and how it is trained."""

    train: TrainSettings = TrainSettings()


class TokenConfig(Config):
    """An experiment on texts of tokens."""

    problem: TokenSettings
    parent: TokenParent


class Encoder(nn.Module):
    """A small transformer encoder, whose outputs are averaged over the text: ids `(n, length)` to logits `(n, 2)`."""

    def __init__(self, tokens: int, width: int = 32) -> None:
        super().__init__()
        self.embedding = nn.Embedding(tokens, width)
        layer = nn.TransformerEncoderLayer(width, nhead=4, dim_feedforward=64, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=1, enable_nested_tensor=False)
        self.head = nn.Linear(width, 2)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits."""
        logits: Tensor = self.head(self.encoder(self.embedding(ids)).mean(1))
        return logits


class Tokens(SupervisedTask):
    """See `SupervisedTask`."""

    settings = TokenConfig

    @property
    def architecture(self) -> Architecture:
        """See `SupervisedTask.architecture`."""
        return Architecture.of(read_code(Path(__file__)), "Encoder", {"tokens": self.config.problem.tokens})

    @cached_property
    def splits(self) -> dict[str, Tensors]:
        """The texts, drawn anew for each split."""
        return {name: self._drawn(place, name) for place, name in enumerate(SPLITS)}

    def _drawn(self, seed: int, name: str) -> Tensors:
        problem, generator = self.config.problem, torch.Generator().manual_seed(seed)
        count = problem.texts * (4 if name == "train" else 1)
        ids = torch.randint(problem.tokens, (count, problem.length), generator=generator)
        different = nn.functional.one_hot(ids, problem.tokens).amax(1).sum(1)
        return read_tensors(name, (ids, different > different.double().mean()))

    def examples(self, layout: torch.memory_format = torch.channels_last) -> Examples:
        """See `SupervisedTask.examples`."""
        return Examples(self.splits["train"], lambda ids: ids)

    def problem(self, parent: Parent) -> LabelledProblem:
        """See `Task.problem`."""
        return LabelledProblem(parent, self.splits, ("poor", "rich"), seed=self.config.seed)
