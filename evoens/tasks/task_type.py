"""The plugin interface of tasks: what `problem.type` names, and what is known of it before anything heavy is loaded."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from evoens.progress import OnCount, no_progress
from evoens.settings.config import Config
from evoens.settings.fault import Fault

Stages = Mapping[str, tuple[int, str, int]]
"""For each stage of a run: predictors measured, the split, members each."""


class TaskType(ABC):
    """A kind of task: its settings, their checks, its estimate. A `Task` is one; ours come apart, to be read quickly.

    Attributes:
        settings: the whole YAML as this kind of task has it, with a `problem` and a `parent` of its own; where a key
            must be given, `settings.sample` has something for it.
    """

    settings: ClassVar[type[Config]] = Config

    @classmethod
    @abstractmethod
    def open(cls, config: Any, base: Path, told: OnCount = no_progress) -> Any:
        """Return the `Task` that a checked YAML describes; the arguments are those of `open_task`."""

    @classmethod
    def faults(cls, config: Any, base: Path, *, retrain: bool, parent: bool) -> Iterator[Fault]:
        """Yield what is wrong with `settings` that are fine in themselves, such as files that they name.

        Args:
            config: the checked YAML.
            base: its folder, from which relative paths start.
            retrain: the parent on disk is not to be used.
            parent: there is to be a parent; else only the network matters.
        """
        yield from ()

    @classmethod
    def estimate(cls, config: Any, card: dict[str, Any] | None, stages: Stages) -> dict[str, Any]:
        """Return what a run would do and take, as far as the parent's own training tells; JSON, often nothing.

        Args:
            config: the checked YAML.
            card: the parent's card, empty where it came without; None where the parent is yet to be trained.
            stages: of the run.
        """
        return {}
