"""A task: what the engine asks of a type of problem before it can evolve a parent for it."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from evoens.errors import CheckpointError
from evoens.parent import Parent
from evoens.problem import Problem
from evoens.progress import OnCount, OnProgress, no_progress
from evoens.tasks.task_type import TaskType
from evoens.tasks.weights import read_weights


class Task(TaskType):
    """One experiment's parent and problem, made from its settings; nothing is loaded or trained before it is asked for.

    A subclass is what `problem.type: path/to/file.py:Class` names: one file, with `settings`, a network and a problem.

    Args:
        config: the checked YAML.
        base: the folder its relative paths start from.
        told: hears of work that has to be done before anything can begin.

    Attributes:
        unsure: what must be said of all that the loaded parent is measured on, such as that it may have been learnt on.
    """

    unsure: str = ""

    def __init__(self, config: Any, base: Path = Path(), told: OnCount = no_progress) -> None:
        self.config, self.base, self.told = config, base, told

    @classmethod
    def open(cls, config: Any, base: Path, told: OnCount = no_progress) -> Task:
        """See `TaskType.open`."""
        return cls(config, base, told)

    def read(self) -> list[str]:
        """Read all data there are, and return what they are, a line each; often there are none."""
        return []

    def cautions(self, problem: Problem) -> list[str]:
        """Return what the user should know of the loaded parent and the data before a run, a sentence each."""
        return []

    @abstractmethod
    def untrained(self) -> Parent:
        """Return a parent as it would be trained, whose tensors have their names and shapes only."""

    def load(self, path: Path) -> tuple[Parent, dict[str, Any]]:
        """Return the parent at `path` and its card; the base reads weights as `read_weights` does.

        Raises:
            CheckpointError: its files are missing, damaged, or do not fit.
        """
        architecture = self.untrained().architecture
        weights, card = read_weights(path, architecture)
        return Parent.from_weights(architecture, weights), card

    def contents(self) -> dict[str, str]:
        """Return the sha256 of each split's cases, where these are read from files, which may change."""
        return {}

    @abstractmethod
    def problem(self, parent: Parent) -> Problem:
        """Return the problem on which `parent` and its children are measured.

        Raises:
            ProblemError: the data or the game cannot be had, or do not fit the parent.
        """


@runtime_checkable
class Trainer(Protocol):
    """A task that trains its parent where there is none yet; `budget` says for how long, in words."""

    budget: str

    def train(self, folder: Path, on_progress: OnProgress, force: bool = False) -> None:
        """Train a parent in `folder`, or go on from its newest checkpoint to the bits an unbroken training would have.

        force: warn, do not refuse, where the settings or the machine differ from the checkpoint's.
        """

    def export(self, folder: Path, path: Path, command: str | None = None) -> Path:
        """Write what was trained in `folder` to `path`, with a card that names `command`; return the weights' file."""

    def summary(self, card: dict[str, Any]) -> str:
        """Return a parent's card in a few words."""


def trainer(task: Task) -> Trainer:
    """Return a task that trains its parent.

    Raises:
        CheckpointError: it does not.
    """
    if isinstance(task, Trainer):
        return task
    config = task.config
    found = f"found none, and {config.problem.type} trains none"
    raise CheckpointError(f"{config.parent.checkpoint}: expected a parent's weights, {found}", ("parent", "checkpoint"))
