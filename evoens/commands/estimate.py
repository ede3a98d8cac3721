"""What a run would do, and about what it would cost, before it does anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evoens.config.load import Loaded
from evoens.settings.config import CANDIDATES, Config
from evoens.storage.card import find_parent, parent_files, read_card
from evoens.storage.json_file import as_written
from evoens.tasks import task_type
from evoens.tasks.task_type import Stages


def planned(loaded: Loaded, folder: Path, retrain: bool) -> dict[str, Any]:
    """Return where a run would go, which parent it would have, and what `estimate` says of it."""
    path = None if retrain else find_parent(loaded.config.parent.checkpoint, loaded.base)
    card = None if path is None else read_card(path) if parent_files(path)[1].is_file() else {}
    parent = "is trained first" if path is None else str(path)
    with as_written(parent, "a parent's card"):
        return {"folder": str(folder), "parent": parent, **estimate(loaded.config, card, loaded.base)}


def estimate(config: Config, card: dict[str, Any] | None, base: Path = Path()) -> dict[str, Any]:
    """Return splits, training, evaluations and, as far as the parent's own training tells, their cost.

    Args:
        config: the checked YAML.
        card: the parent's card, empty where it came without; None where the parent is yet to be trained.
        base: the YAML's folder, from which relative paths start.
    """
    own = stages(config)
    found = task_type(config.problem.type, base).estimate(config, card, own)
    return found | {"evaluations": {name: children for name, (children, _, _) in own.items()}}


def stages(config: Config) -> Stages:
    """Return what a run measures, stage by stage."""
    size = config.selection.size
    members = 1 if config.strategy.scope else size + config.selection.parent
    population, generations = config.search.population, config.search.generations
    further = len(config.report.methods)
    return {
        "search": (population * generations + 1, "search", 1),
        "ensembles so far": (generations, "so far", members),
        "select": (min(CANDIDATES * size, population * generations), "select", 1),
        "test, parent and best child": (2, "test", 1),
        "test, random children and ensemble": (2, "test", members),
        **({"test, further methods": (further, "test", 1)} if further else {}),
    }
