"""A task that trains its own network on labelled examples by gradient descent, with checkpoints and a card."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from evoens.architecture import Architecture
from evoens.machine.allocator import keep_memory
from evoens.network.adapt import layout
from evoens.parent import Parent
from evoens.problem import Problem
from evoens.progress import OnCount, OnProgress, no_progress
from evoens.tasks.export import newest, write_parent
from evoens.tasks.fitting import fit, machine
from evoens.tasks.labelled import LabelledProblem
from evoens.tasks.precision import precision_of
from evoens.tasks.sgd import Examples, Training, draws, seeded
from evoens.tasks.task import Task
from evoens.tasks.tensors import Tensors, seen_before


class SupervisedTask(Task):
    """See `Task`; the settings have `parent.train`, of `TrainSettings`. A subclass has a network and examples."""

    def __init__(self, config: Any, base: Path = Path(), told: OnCount = no_progress) -> None:
        super().__init__(config, base, told)
        self.budget = f"{config.parent.train.epochs} epochs"

    @property
    @abstractmethod
    def architecture(self) -> Architecture:
        """The network; its outputs are logits."""

    @abstractmethod
    def examples(self, layout: torch.memory_format = torch.channels_last) -> Examples:
        """Return what is learnt from; images as they are given to the network, in this layout."""

    def learnt(self) -> dict[str, Any]:
        """Return what tells the examples from others, JSON: a training goes on with the same only."""
        return {"inputs and labels": self.examples().images.sha256()}

    @property
    def network(self) -> str:
        """What the network is called, wherever its file lies."""
        return Path(self.architecture.target).name

    def facts(self) -> dict[str, Any]:
        """Return what the parent's card says of the data it has learnt from; JSON."""
        return {}

    def cautions(self, problem: Problem) -> list[str]:
        """See `Task.cautions`: inputs that are in several splits."""
        splits = problem.splits if isinstance(problem, LabelledProblem) else {}
        return seen_before({name: split for name, split in splits.items() if isinstance(split, Tensors)})

    def untrained(self) -> Parent:
        """See `Task.untrained`; its weights are those a training begins with."""
        return self._initial(self.config.seed)

    def _initial(self, seed: int) -> Parent:
        with seeded(f"weights:{seed}"):
            return Parent(self.architecture.build(), self.architecture)

    def train(self, folder: Path, on_progress: OnProgress, force: bool = False) -> None:
        """See `Trainer.train`."""
        self.fit(self.config.seed, folder, on_progress, force)

    def fit(self, seed: int, folder: Path, on_progress: OnProgress, force: bool = False) -> Training:
        """Train a network from `seed`; the other arguments are those of `train`."""
        keep_memory()
        settings, initial, examples = self.config.parent.train, self._initial(seed), self.examples()
        initial.layout = layout(initial.module, examples.normalise(examples.images.part(0, 2).all()))
        module, examples = initial.trainable(), self.examples(initial.layout)
        some = next(examples.batches(settings.batch, 0, 0))[0]

        def make(precision: str | None) -> Training:
            """Begin; what a checkpoint was trained in stays."""
            chosen = precision or precision_of(settings.precision, some.device)
            return Training(module, examples, settings, seed=seed, precision=chosen, draws=draws(module, some))

        return fit(make, {**self._identity(), "seed": seed}, folder, on_progress, force)

    def _identity(self) -> dict[str, Any]:
        own = {"target": self.network} if self.architecture.sha256 else {}
        return {
            "architecture": self.architecture.to_json(helpers=False) | own,
            "train": self.config.parent.train.model_dump(mode="json"),
            "seed": self.config.seed,
            "machine": machine(),
            "helpers": self.architecture.helpers,
            **self.learnt(),
        }

    def export(self, folder: Path, path: Path, command: str | None = None) -> Path:
        """See `Trainer.export`."""
        saved, prefix = newest(folder), "module/"
        weights = {k.removeprefix(prefix): v for k, v in saved.tensors.items() if k.startswith(prefix)}
        return write_parent(path, weights, self._card_of(saved.state, command))

    def _card_of(self, state: Mapping[str, Any], command: str | None) -> dict[str, Any]:
        curve = state["curve"]
        return {
            "architecture": self.architecture.to_json(),
            **self.facts(),
            "network": self.network,
            "seed": self.config.seed,
            "epochs": len(curve),
            "seconds": sum(row["seconds"] for row in curve),
            "command": command,
            "train": state["identity"]["train"],
            "precision": state["precision"],
            "versions": state["identity"]["machine"],
            "curve": [{"epoch": i + 1, **row} for i, row in enumerate(curve)],
        }

    def summary(self, card: dict[str, Any]) -> str:
        """See `Trainer.summary`."""
        last = card["curve"][-1]
        return f"{card['epochs']} epochs, accuracy {last['accuracy']:.1%} on what it learnt from"
