"""The setting of a Method: a problem, a network that can be trained on its data, and a budget to spend on that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor

from evoens.errors import SpecError
from evoens.network.wrapper import Wrapper
from evoens.predictors.networks import Networks
from evoens.problem import Problem
from evoens.progress import OnProgress
from evoens.settings.classification import TrainSettings
from evoens.settings.config import Config
from evoens.tasks.lesson import Lesson, Trained
from evoens.tasks.supervised import SupervisedTask


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What every Method is given: a problem with its data, a network that can be trained on them, and a budget.

    Attributes:
        problem: what is solved, with a parent, which need not be trained.
        config: the checked YAML.
        device: where networks run.
        task: trains the problem's network; None where none is trained here.
        epochs: the budget: passes over the train split, for all networks of a Method together.
        trainings: where networks are trained, by whatever Method; one that two of them train alike is trained once.
    """

    problem: Problem
    config: Config
    device: torch.device
    task: SupervisedTask | None = None
    epochs: int = 0
    trainings: Path = Path("trainings")

    @property
    def settings(self) -> TrainSettings:
        """How the budget is spent on one network.

        Raises:
            SpecError: this problem trains none.
        """
        settings: TrainSettings = self.trainer.config.parent.train
        return settings.model_copy(update={"epochs": self.epochs})

    @property
    def trainer(self) -> SupervisedTask:
        """The task that trains.

        Raises:
            SpecError: there is none, or no budget.
        """
        if self.task is None or self.epochs < 1:
            found = "none" if self.task is None else "a budget of no epochs"
            raise SpecError(f"expected a problem whose network is trained here, with `parent.train`, found {found}")
        return self.task

    def train(self, on_progress: OnProgress, number: int = 0, *, epochs: int | None = None, **further: Any) -> Trained:
        """Train a network, or take up the one that was trained so; an interrupted training goes on to the same bits.

        Args:
            on_progress: is told how far it has come.
            number: 0 has the seed of the run, and so is the network that a parent of these settings would be; others
                have seeds of their own.
            epochs: all of the budget, where they are not given.
            further: of `evoens.tasks.lesson.Lesson`: `share`, `cycles`, `wrapper`, `start`, `masks`, `keep`, and
                `settings` over the YAML's.
        """
        settings = further.pop("settings", self.settings)
        if epochs is not None:
            settings = settings.model_copy(update={"epochs": epochs})
        lesson = Lesson(self._seed(number), settings, **further)
        return self.trainer.taught(lesson, self.trainings, on_progress)

    def _seed(self, number: int) -> int:
        own = self.config.seed
        return own if number == 0 else Random(f"{own}:network:{number}").getrandbits(62)

    def networks(self, weights: Sequence[Mapping[str, Tensor]], wrapper: Wrapper | None = None) -> Networks:
        """Return trained networks as a predictor."""
        problem = self.problem
        return Networks(
            problem.parent.architecture,
            weights,
            wrapper=wrapper,
            layout=problem.parent.layout,
            device=self.device,
            seed=self.config.seed,
            preprocessing=problem.preprocessing,
        )


def whole(name: str, value: Any, least: int = 1) -> int:
    """Return a Method's argument that is to be a whole number.

    Raises:
        SpecError: it is none, or too small.
    """
    if type(value) is not int or value < least:
        raise SpecError(f"{name}: expected an integer ≥ {least}, found {value!r}", (name,))
    return value


def fraction(name: str, value: Any) -> float:
    """Return a Method's argument that is to be a number above 0 and below 1, or 1 itself.

    Raises:
        SpecError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise SpecError(f"{name}: expected a number > 0 and ≤ 1, found {value!r}", (name,))
    return float(value)


def divided(name: str, parts: int, epochs: int) -> int:
    """Return how many epochs each part of a budget has.

    Raises:
        SpecError: it cannot be divided so.
    """
    if epochs % parts:
        fitting = ", ".join(str(n) for n in range(1, epochs + 1) if epochs % n == 0)
        raise SpecError(
            f"{name}: expected what divides the budget of {epochs} epochs ({fitting}), found {parts}", (name,)
        )
    return epochs // parts
