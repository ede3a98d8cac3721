"""Image classification as a type of problem: its settings, their checks, its estimate; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evoens.progress import OnCount, no_progress
from evoens.settings.classification import ClassificationConfig
from evoens.settings.fault import Fault
from evoens.storage.card import find_parent
from evoens.tasks.classifier_checks import classifier_faults, network_faults
from evoens.tasks.data.checks import data_faults
from evoens.tasks.task_type import Stages, TaskType

if TYPE_CHECKING:
    from evoens.tasks.classification_task import ClassificationTask


class ClassificationType(TaskType):
    """See `TaskType`."""

    settings = ClassificationConfig

    @classmethod
    def open(cls, config: ClassificationConfig, base: Path, told: OnCount = no_progress) -> ClassificationTask:
        """See `TaskType.open`."""
        from evoens.tasks.classification_task import ClassificationTask  # noqa: PLC0415 (torch)

        return ClassificationTask(config, base, told)

    @classmethod
    def faults(cls, config: ClassificationConfig, base: Path, *, retrain: bool, parent: bool) -> Iterator[Fault]:
        """See `TaskType.faults`: of the data, the network, and the parent where it is there and is to be used."""
        trains = parent and (retrain or find_parent(config.parent.checkpoint, base) is None)
        yield from data_faults(config, base, trains)
        yield from classifier_faults(config, base, retrain) if parent else network_faults(config, base)

    @classmethod
    def estimate(cls, config: ClassificationConfig, card: dict[str, Any] | None, stages: Stages) -> dict[str, Any]:
        """See `TaskType.estimate`; a child's epoch is taken to last as long as one of the parent's."""
        cuts = {name: cut for name, cut in config.problem.splits.cuts.items() if name != "train"}
        children = config.search.population * config.search.generations
        own = config.parent.train.epochs
        epochs = {
            "parent": 0 if card is not None else own,
            "children": children * config.tune.epochs if config.tune else 0,
            "independent": config.parent.independent * own,
        }
        found: dict[str, Any] = {
            "splits": {name: f"{cut.count or 'the rest'} of {cut.from_}" for name, cut in cuts.items()},
            "training_epochs": epochs,
        }
        if card and card.get("seconds") and card.get("epochs"):
            found["training_seconds"] = round(sum(epochs.values()) * card["seconds"] / card["epochs"])
        return found
