"""A task that trains its own network on labelled examples by gradient descent, with checkpoints and a card."""

from __future__ import annotations

import hashlib
import json
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from evoens.architecture import Architecture
from evoens.graph.flops import operations
from evoens.machine.allocator import keep_memory
from evoens.network.adapt import layout
from evoens.network.tensors import load, tensors
from evoens.parent import Parent
from evoens.problem import Problem
from evoens.progress import OnCount, OnProgress, no_progress
from evoens.tasks.export import newest, write_parent
from evoens.tasks.fitting import fit, machine
from evoens.tasks.labelled import LabelledProblem
from evoens.tasks.lesson import Lesson, Spent, Trained, mean_of
from evoens.tasks.precision import precision_of
from evoens.tasks.sgd import Examples, Training, draws, given_to, norms, re_estimate, require_finite, seeded
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

    def _laid_out(self, seed: int) -> Parent:
        """The network before its training, in the layout in which it takes the examples."""
        parent, examples = self._initial(seed), self.examples()
        parent.layout = layout(parent.module, examples.normalise(examples.images.part(0, 2).all()))
        return parent

    def train(self, folder: Path, on_progress: OnProgress, force: bool = False) -> None:
        """See `Trainer.train`."""
        self.fit(Lesson(self.config.seed, self.config.parent.train), folder, on_progress, force)

    def fit(self, lesson: Lesson, folder: Path, on_progress: OnProgress, force: bool = False) -> Training:
        """Train a network; the other arguments are those of `train`."""
        keep_memory()
        seed, settings, initial = lesson.seed, lesson.settings, self._laid_out(lesson.seed)
        module = lesson.begun(initial.trainable()).to(memory_format=initial.layout)
        examples = lesson.examples(self.examples(initial.layout))
        some = given_to(module, *next(examples.batches(settings.batch, 0, 0)), seed, 0)[0]

        def make(precision: str | None) -> Training:
            """Begin; what a checkpoint was trained in stays."""
            chosen, own = precision or precision_of(settings.precision, some.device), draws(module, some)
            rate = lesson.rate
            return lesson.masked(
                Training(module, examples, settings, seed=seed, precision=chosen, draws=own, rate=rate)
            )

        identity = self.identity_of(lesson)
        return fit(make, identity, folder, on_progress, force, on_epoch=lambda own: lesson.copy(own, folder))

    def taught(self, lesson: Lesson, folder: Path, on_progress: OnProgress) -> Trained:
        """Train a network by a lesson in a part of `folder` that is the lesson's own, or take up the one there.

        Whoever asks for the same lesson in the same folder has the same network, trained once.
        """
        own = {key: value for key, value in self.identity_of(lesson).items() if key != "machine"}
        place = folder / hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:16]
        training = self.fit(lesson, place, on_progress)
        require_finite(training.module)
        return Trained.of(training, place, len(self.examples().images))

    def averaged(self, weights: Sequence[Mapping[str, Tensor]]) -> Trained:
        """Return the mean of networks' weights, with statistics of BatchNorm taken anew, which is all that it costs."""
        settings, seed, initial = self.config.parent.train, self.config.seed, self._laid_out(self.config.seed)
        module = initial.trainable()
        load(module, mean_of(module, weights))
        examples, spent = self.examples(initial.layout), Spent()
        if norms(module):
            began = time.monotonic()
            re_estimate(module, (inputs for inputs, _ in examples.batches(settings.batch, seed, 0)))
            flops = len(examples.images) * operations(module, next(examples.batches(2, seed, 0))[0][:1]).total
            spent = Spent(0, 0.0, flops, time.monotonic() - began)
        return Trained({name: value.detach() for name, value in tensors(module).items()}, spent, Path())

    def identity_of(self, lesson: Lesson) -> dict[str, Any]:
        """Return what must be the same for a training to go on to the same bits; JSON."""
        return {**self._identity(), **lesson.identity()}

    def _identity(self) -> dict[str, Any]:
        own = {"target": self.network} if self.architecture.sha256 else {}
        return {
            "architecture": self.architecture.to_json(helpers=False) | own,
            "machine": machine(),
            "helpers": self.architecture.helpers,
            **self.learnt(),
        }

    def export(self, folder: Path, path: Path, command: str | None = None, **facts: Any) -> Path:
        """See `Trainer.export`; the card has these `facts` too."""
        saved, prefix = newest(folder), "module/"
        weights = {k.removeprefix(prefix): v for k, v in saved.tensors.items() if k.startswith(prefix)}
        return write_parent(path, weights, {**self._card_of(saved.state, command), **facts})

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
