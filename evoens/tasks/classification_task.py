"""Image classification as a task: a classifier trained here or brought along, evolved by its accuracy."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from evoens.architecture import Architecture
from evoens.errors import CheckpointError, about
from evoens.parent import Parent
from evoens.problem import Problem
from evoens.progress import OnCount, OnProgress, no_progress
from evoens.settings.classification import ClassificationConfig
from evoens.tasks.chance import cautions, in_order
from evoens.tasks.classification import ClassificationProblem
from evoens.tasks.data.data import SPLITS, Data, open_data
from evoens.tasks.data.images import repeated
from evoens.tasks.data.preprocessing import Normalise
from evoens.tasks.data.splits import MEASURED
from evoens.tasks.learnt import unsure
from evoens.tasks.lesson import Lesson
from evoens.tasks.networks.catalogue import architecture
from evoens.tasks.sgd import Examples
from evoens.tasks.supervised import SupervisedTask
from evoens.tasks.weights import read_weights


class ClassificationTask(SupervisedTask):
    """See `Task`.

    Args:
        config: the checked YAML.
        base: the folder its relative paths start from.
        told: hears how many images are decoded.
    """

    config: ClassificationConfig

    def __init__(self, config: ClassificationConfig, base: Path, told: OnCount = no_progress) -> None:
        super().__init__(config, base, told)
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
            parent = super().untrained()
            self.problem(parent)  # whether it takes these images
        return parent

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

    def independent(self, folder: Path, on_progress: OnProgress) -> list[Parent]:
        """Train as many further networks as the settings ask for, from other seeds, each in a part of `folder`."""
        found = []
        for number in range(1, self.config.parent.independent + 1):
            lesson = Lesson(self.config.seed + number, self.config.parent.train)
            training = self.fit(lesson, folder / str(number), on_progress)
            found.append(Parent(training.module, self.architecture))
        return found

    def examples(self, layout: torch.memory_format = torch.channels_last) -> Examples:
        """See `SupervisedTask.examples`: the train split."""
        with about("problem", "data"):
            normalise = self.data.normalise.laid_out(layout)
            return Examples(self.data.splits["train"], normalise, self.config.problem.augment)

    def learnt(self) -> dict[str, Any]:
        """See `SupervisedTask.learnt`."""
        return {
            "data": hashlib.sha256(json.dumps(self.data.describe(["train"]), sort_keys=True).encode()).hexdigest(),
            "augment": list(self.config.problem.augment),
            "pixels and labels": self.data.splits["train"].sha256(),
        }

    @property
    def network(self) -> str:
        """See `SupervisedTask.network`."""
        return self.config.parent.network

    def facts(self) -> dict[str, Any]:
        """See `SupervisedTask.facts`."""
        described = self.data.describe(["train"])
        return {
            **{name: described[name] for name in ("data", "shape", "classes", "normalise")},
            "splits": self.config.problem.splits.model_dump(mode="json", by_alias=True),
            "split_seed": self.config.problem.split_seed,
        }

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
