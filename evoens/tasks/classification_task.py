"""Image classification as a task: a classifier trained here or brought along, evolved by its accuracy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from evoens.architecture import Architecture
from evoens.errors import CheckpointError, about
from evoens.machine.allocator import keep_memory
from evoens.network.adapt import layout
from evoens.parent import Parent
from evoens.problem import Problem
from evoens.progress import OnProgress, Told, unheard
from evoens.settings.classification import ClassificationConfig
from evoens.storage.card import parent_files
from evoens.storage.checkpoint import CheckpointStore
from evoens.storage.files import write_atomic
from evoens.tasks.chance import cautions, in_order
from evoens.tasks.classification import ClassificationProblem
from evoens.tasks.data.alike import repeated
from evoens.tasks.data.data import SPLITS, Data, open_data
from evoens.tasks.data.normalise import Normalise
from evoens.tasks.data.splits import MEASURED
from evoens.tasks.fitting import fit, machine
from evoens.tasks.learnt import unsure
from evoens.tasks.networks.catalogue import architecture
from evoens.tasks.precision import precision_of
from evoens.tasks.sgd import Examples, Training, draws, seeded
from evoens.tasks.task import Task
from evoens.tasks.weights import read_weights


class ClassificationTask(Task):
    """See `Task`.

    Args:
        config: the checked YAML.
        base: the folder its relative paths start from.
        told: hears how many images are decoded.
    """

    config: ClassificationConfig

    def __init__(self, config: ClassificationConfig, base: Path, told: Told = unheard) -> None:
        super().__init__(config, base, told)
        self.budget = f"{config.parent.train.epochs} epochs"
        self._card: Mapping[str, Any] = {}

    @cached_property
    def data(self) -> Data:
        """The images; when they are first asked for, every split that is needed is cut."""
        problem = self.config.problem
        with about("problem", "data"):
            data = open_data(problem, self.config.data.root, problem.split_seed, self.base, self.told)
            for name in ("search", "select", "test"):
                _ = data.splits[name]
            _ = data.normalise
        return data

    @cached_property
    def architecture(self) -> Architecture:
        """The network, as wide as the data's classes and as deep as their images need it."""
        parent, data = self.config.parent, self.data
        folders = [self.base, Path.cwd()]
        return architecture(parent.network, len(data.classes), data.shape, parent.arguments, folders)

    def untrained(self) -> Parent:
        """See `Task.untrained`; its weights are those a training begins with."""
        with about("parent", "network"):
            parent = self._initial(self.config.seed)
            self.problem(parent)  # whether it takes these images
        return parent

    def _initial(self, seed: int) -> Parent:
        with seeded(f"weights:{seed}"):
            return Parent(self.architecture.build(), self.architecture)

    def load(self, path: Path) -> tuple[Parent, dict[str, Any]]:
        """See `Task.load`; the parent must not have learnt on images that it is measured on."""
        with about("parent", "checkpoint"):
            weights, self._card = read_weights(path, self.architecture, self.config.parent.weights)
            self._require_same_data(path)
            known = "splits" in self._card and self.config.parent.learnt_on is None
            self.unsure = "" if known else unsure(self.config, self.data, self.base)
            return Parent.from_weights(self.architecture, weights), dict(self._card)

    def read(self) -> list[str]:
        """See `Task.read`."""
        return self.data.counted()

    def cautions(self, problem: Problem) -> list[str]:
        """See `Task.cautions`: what of the data is not counted, equal pictures, doubt about what is unseen, chance."""
        assert isinstance(problem, ClassificationProblem)
        data = self.data
        learns = "splits" in self._card or problem.tunes
        twice = repeated({name: data.splits[name] for name in (*(("train",) if learns else ()), *MEASURED)})
        found = ", ".join(f"{count} of {name}" for name, count in twice.items())
        alike = [f"images with the pixels of one in another split: {found}"] if twice else []
        advice = "; parent.learnt_on says what it has learnt on" if self.config.parent.learnt_on is None else ""
        doubt = [f"what the parent is measured on {self.unsure}{advice}"] if self.unsure else []
        odd = cautions(problem.parent, data.splits["search"], problem.normalise, data.classes)
        return [*data.notes, *alike, *doubt, *odd]

    def _require_same_data(self, path: Path) -> None:
        """Raise where the card says that the parent knows other classes, or images that are not to be learnt on."""
        classes, learnt = self._card.get("classes"), self._card.get("splits")
        if classes not in (None, list(self.data.classes)):
            found = f"expected the classes {', '.join(self.data.classes)}, found {', '.join(classes)}"
            mend = f"{in_order(classes)} has them in its order; " if {*classes} == {*self.data.classes} else ""
            raise CheckpointError(f"{path}: {found}; {mend}--retrain trains one anew")
        seen = self.data.seen(learnt, self._card["split_seed"]) if learnt else {}
        if seen:
            which = ", ".join(f"{count} of {name}" for name, count in seen.items())
            message = f"{path}: expected a parent that has not learnt on images of search, select and test"
            raise CheckpointError(f"{message}, found one that has, on {which}; --retrain trains one anew")

    def contents(self) -> dict[str, str]:
        """See `Task.contents`; the train split counts where children or further networks learn from it."""
        learns = self.config.tune is not None or self.config.parent.independent
        return {name: self.data.splits[name].sha256() for name in SPLITS[0 if learns else 1 :]}

    def train(self, folder: Path, on_progress: OnProgress, force: bool = False) -> None:
        """See `Task.train`."""
        self._fit(self.config.seed, folder, on_progress, force)

    def independent(self, folder: Path, on_progress: OnProgress) -> list[Parent]:
        """Train as many further networks as the settings ask for, from other seeds, each in a part of `folder`."""
        found = []
        for number in range(1, self.config.parent.independent + 1):
            training = self._fit(self.config.seed + number, folder / str(number), on_progress, force=False)
            found.append(Parent(training.module, self.architecture))
        return found

    def _fit(self, seed: int, folder: Path, on_progress: OnProgress, force: bool) -> Training:
        keep_memory()
        settings, initial, examples = self.config.parent.train, self._initial(seed), self.examples()
        initial.layout = layout(initial.module, examples.normalise(examples.images.part(0, 2).all()))
        module = initial.trainable()
        examples = replace(examples, normalise=self.data.normalise.laid_out(initial.layout))
        some = next(examples.batches(settings.batch, 0, 0))[0]

        def make(precision: str | None) -> Training:
            """Begin; what a checkpoint was trained in stays."""
            chosen = precision or precision_of(settings.precision, some.device)
            return Training(module, examples, settings, seed=seed, precision=chosen, draws=draws(module, some))

        return fit(make, {**self._identity(), "seed": seed}, folder, on_progress, force)

    def examples(self) -> Examples:
        """Return what is learnt from: the train split."""
        with about("problem", "data"):
            return Examples(self.data.splits["train"], self.data.normalise, self.config.problem.augment)

    def _identity(self) -> dict[str, Any]:
        return {
            "data": hashlib.sha256(json.dumps(self.data.describe(["train"]), sort_keys=True).encode()).hexdigest(),
            "architecture": self.architecture.to_json(helpers=False) | self._own_file(),
            "train": self.config.parent.train.model_dump(mode="json"),
            "augment": list(self.config.problem.augment),
            "seed": self.config.seed,
            "machine": machine(),
            "pixels and labels": self.data.splits["train"].sha256(),
            "helpers": self.architecture.helpers,
        }

    def _own_file(self) -> dict[str, str]:
        """A user's file is known by its name and its sha256, wherever it lies."""
        return {"target": self.config.parent.network} if self.architecture.sha256 else {}

    def export(self, folder: Path, path: Path, command: str | None = None) -> Path:
        """See `Task.export`."""
        saved, _ = CheckpointStore(folder / "checkpoints").latest()
        if saved is None:
            raise CheckpointError(f"{folder}: expected a training with a checkpoint, found none")
        prefix = "module/"
        weights = {k.removeprefix(prefix): v for k, v in saved.tensors.items() if k.startswith(prefix)}
        weights_file, card_file = parent_files(path)
        data = save(weights)
        card = self._card_of(saved.state, weights, data, command)
        weights_file.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(weights_file, data)
        write_atomic(card_file, json.dumps(card, indent=1, ensure_ascii=False) + "\n")
        return weights_file

    def _card_of(
        self, state: Mapping[str, Any], weights: Mapping[str, Tensor], data: bytes, command: str | None
    ) -> dict[str, Any]:
        curve, described = state["curve"], self.data.describe(["train"])
        return {
            "architecture": self.architecture.to_json(),
            **{name: described[name] for name in ("data", "shape", "classes", "normalise")},
            "splits": self.config.problem.splits.model_dump(mode="json", by_alias=True),
            "split_seed": self.config.problem.split_seed,
            "network": self.config.parent.network,
            "seed": self.config.seed,
            "epochs": len(curve),
            "seconds": sum(row["seconds"] for row in curve),
            "command": command,
            "train": state["identity"]["train"],
            "precision": state["precision"],
            "versions": state["identity"]["machine"],
            "curve": [{"epoch": i + 1, **row} for i, row in enumerate(curve)],
            "weights": sum(weight.numel() for weight in weights.values()),
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
        }

    def summary(self, card: dict[str, Any]) -> str:
        """See `Task.summary`."""
        last = card["curve"][-1]
        return f"{card['epochs']} epochs, accuracy {last['accuracy']:.1%} on the images it learnt from"

    def problem(self, parent: Parent) -> ClassificationProblem:
        """See `Task.problem`; images are normalised as the parent learnt to see them, unless the YAML says how."""
        learnt = self._card.get("normalise")
        normalise = Normalise(**learnt) if learnt and self.config.problem.normalise is None else None
        return ClassificationProblem(
            self.config.problem,
            parent,
            self.data,
            normalise,
            tuning=self.config.tune,
            independent=self.independent if self.config.parent.independent else None,
            seed=self.config.seed,
        )
