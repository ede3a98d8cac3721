"""The concrete problems, found by `problem.type`, and how their parents are trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evoens.errors import SpecError
from evoens.plugins.spec import Located, load_class, locate
from evoens.progress import OnCount, no_progress
from evoens.settings.config import Config
from evoens.settings.tensors import TENSORS
from evoens.tasks.task_type import TaskType

if TYPE_CHECKING:
    from evoens.tasks.task import Task

TYPES = {
    "procgen": "evoens.tasks.procgen_type:ProcgenType",
    "classification": "evoens.tasks.classification_type:ClassificationType",
}
"""The types of problem that ship, and where they are."""
DEFAULT = "procgen"  # where a YAML says nothing


def named_type(value: Mapping[str, Any]) -> str:
    """Return the `problem.type` of a YAML's value, whether there is such a type or not."""
    problem = value.get("problem")
    kind = problem.get("type") if isinstance(problem, Mapping) else None
    return kind if isinstance(kind, str) else DEFAULT


def locate_type(name: str, base: Path) -> Located:
    """Find the source of a type of problem without importing it; a relative path is tried from `base` and from here.

    Raises:
        SpecError: there is none; the message names the nearest.
    """
    if name == TENSORS:
        raise SpecError("expected a type that a YAML can have, found a run of evoens.evolve, which goes on with it")
    return locate(TYPES.get(name, name), [base, Path.cwd()], list(TYPES))


def task_type(name: str, base: Path = Path()) -> type[TaskType]:
    """Import a type of problem, and return it.

    Raises:
        SpecError: as `locate_type`, or it does not import, or is none.
    """
    return load_class(locate_type(name, base), TaskType)


def own_files(name: str, base: Path) -> dict[str, str]:
    """Return the sha256 of each file of a type of problem that does not ship, by its name; none of one that does."""
    if name in TYPES:
        return {}
    found = locate_type(name, base)
    return {Path(str(found.module)).name: found.sha256, **(found.code.helpers if found.code else {})}


def parse_config(value: Mapping[str, Any], base: Path = Path(), *, strict: bool | None = None) -> Config:
    """Return the checked settings of a YAML's value; `strict=False` takes lists for tuples, which JSON has not.

    Raises:
        ValidationError: pydantic's, with all that is wrong.
    """
    return task_type(named_type(value), base).settings.model_validate(value, strict=strict)


def open_task(config: Config, base: Path, told: OnCount = no_progress) -> Task:
    """Return the task that a checked YAML describes.

    Args:
        config: the checked YAML.
        base: the folder its relative paths start from.
        told: hears of work that has to be done before anything can begin, such as decoding images.
    """
    task: Task = task_type(config.problem.type, base).open(config, base, told)
    return task
