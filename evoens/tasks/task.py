"""A task: what the engine asks of a kind of problem before it can evolve a parent for it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from evoens.parent import Parent
from evoens.problem import Problem
from evoens.progress import OnProgress


class Task(ABC):
    """One experiment's parent and problem, made from its settings; nothing is loaded or trained before it is asked for.

    Attributes:
        budget: how long the parent is trained, in words.
        unsure: what must be said of all that the loaded parent is measured on, such as that it may have been learnt on.
    """

    budget: str
    unsure: str = ""

    def read(self) -> list[str]:
        """Read all data there are, and return what they are, a line each; often there are none."""
        return []

    def cautions(self, problem: Problem) -> list[str]:
        """Return what the user should know of the loaded parent and the data before a run, a sentence each."""
        return []

    @abstractmethod
    def untrained(self) -> Parent:
        """Return a parent as it would be trained, whose tensors have their names and shapes only."""

    @abstractmethod
    def load(self, path: Path) -> tuple[Parent, dict[str, Any]]:
        """Return the parent at `path` and its card.

        Raises:
            CheckpointError: its files are missing, damaged, or do not fit.
        """

    def contents(self) -> dict[str, str]:
        """Return the sha256 of each split's cases, where these are read from files, which may change."""
        return {}

    @abstractmethod
    def train(self, folder: Path, on_progress: OnProgress, force: bool = False) -> None:
        """Train a parent in `folder`, or go on from its newest checkpoint to the bits an unbroken training would have.

        force: warn, do not refuse, where the settings or the machine differ from the checkpoint's.
        """

    @abstractmethod
    def export(self, folder: Path, path: Path, command: str | None = None) -> Path:
        """Write what was trained in `folder` to `path`, with a card that names `command`; return the weights' file."""

    @abstractmethod
    def summary(self, card: dict[str, Any]) -> str:
        """Return a parent's card in a few words."""

    @abstractmethod
    def problem(self, parent: Parent) -> Problem:
        """Return the problem on which `parent` and its children are measured.

        Raises:
            ProblemError: the data or the game cannot be had, or do not fit the parent.
        """
