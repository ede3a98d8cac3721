"""The concrete problems, and how their parents are trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from evoens.progress import Told, unheard
from evoens.settings.classification import ClassificationConfig
from evoens.settings.config import Config
from evoens.settings.procgen import ProcgenConfig

if TYPE_CHECKING:
    from evoens.tasks.task import Task


def open_task(config: Config, base: Path, told: Told = unheard) -> Task:
    """Return the task that a checked YAML describes.

    Args:
        config: the checked YAML.
        base: the folder its relative paths start from.
        told: hears of work that has to be done before anything can begin, such as decoding images.
    """
    if isinstance(config, ClassificationConfig):
        from evoens.tasks.classification_task import ClassificationTask  # noqa: PLC0415

        return ClassificationTask(config, base, told)
    assert isinstance(config, ProcgenConfig)
    from evoens.tasks.procgen_task import ProcgenTask  # noqa: PLC0415 (each task has heavy libraries of its own)

    return ProcgenTask(config)
