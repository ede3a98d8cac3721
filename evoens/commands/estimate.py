"""What a run would do, and about what it would cost, before it does anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evoens.config.load import Loaded
from evoens.settings.classification import ClassificationConfig
from evoens.settings.config import CANDIDATES, SO_FAR, Config
from evoens.settings.procgen import ProcgenConfig
from evoens.storage.card import find_parent, parent_files, read_card
from evoens.storage.json_file import as_written

BACKWARD = 2  # a backward pass costs about two forward passes
RULES = 2  # of action, by which a policy plays the test levels

Stages = dict[str, tuple[int, str, int]]
"""For each stage: predictors measured, the split, members each."""


def planned(loaded: Loaded, folder: Path, retrain: bool) -> dict[str, Any]:
    """Return where a run would go, which parent it would have, and what `estimate` says of it."""
    path = None if retrain else find_parent(loaded.config.parent.checkpoint, loaded.base)
    card = None if path is None else read_card(path) if parent_files(path)[1].is_file() else {}
    parent = "is trained first" if path is None else str(path)
    with as_written(parent, "a parent's card"):
        return {"folder": str(folder), "parent": parent, **estimate(loaded.config, card)}


def estimate(config: Config, card: dict[str, Any] | None) -> dict[str, Any]:
    """Return splits, training, evaluations and, as far as the parent's own training tells, their cost.

    A child's epoch is taken to last as long as one of the parent's. A policy's passes are counted as frames × members,
    or as frames where a scope lets members share most of one; how long an episode lasts, and how many passes a second
    the machine does, are taken from the training that the parent's card describes.

    Args:
        config: the checked YAML.
        card: the parent's card, empty where it came without; None where the parent is yet to be trained.
    """
    own = stages(config)
    found: dict[str, Any] = {"evaluations": {name: children for name, (children, _, _) in own.items()}}
    if isinstance(config, ProcgenConfig):
        return _games(config, card, own) | found
    return _images(config, card) | found if isinstance(config, ClassificationConfig) else found


def stages(config: Config) -> Stages:
    """Return what a run measures, stage by stage."""
    size = config.selection.size
    members = 1 if config.strategy.scope else size + config.selection.parent
    population, generations = config.search.population, config.search.generations
    return {
        "search": (population * generations + 1, "search", 1),
        "ensembles so far": (generations, "so far", members),
        "select": (min(CANDIDATES * size, population * generations), "select", 1),
        "test, parent and best child": (2, "test", 1),
        "test, random children and ensemble": (2, "test", members),
    }


def _games(config: ProcgenConfig, card: dict[str, Any] | None, stages: Stages) -> dict[str, Any]:
    levels = _levels(config)
    games = {name: children * levels[split] for name, (children, split, _) in stages.items()}
    found: dict[str, Any] = {
        "splits": {name: str(levels) for name, levels in config.problem.levels if name != "train"},
        "episodes": sum(games.values()),
        "training_steps": 0 if card is not None else config.parent.train.steps,
    }
    lasts, speed = _length(card), _passes_per_second(card)
    if lasts and speed:
        cut = min(lasts, config.problem.max_episode_steps or lasts)  # test games are never cut
        passes = sum(
            games[name] * (lasts if split == "test" else cut) * members for name, (_, split, members) in stages.items()
        )
        found |= {"episode_length": round(lasts), "passes": round(passes), "seconds": round(passes / speed)}
    return found


def _images(config: ClassificationConfig, card: dict[str, Any] | None) -> dict[str, Any]:
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


def _levels(config: ProcgenConfig) -> dict[str, int]:
    """How many levels are played of each split, by one predictor."""
    counts, racing = config.problem.counts, config.search.racing
    so_far = min(SO_FAR, counts["search"])
    searched = max(counts["search"], racing.levels if racing else 0)
    return {**counts, "search": searched, "so far": so_far, "test": RULES * counts["test"]}


def _length(card: dict[str, Any] | None) -> float | None:
    lengths = [row["length_mean"] for row in (card or {}).get("curve", []) if row.get("length_mean")]
    return float(lengths[-1]) if lengths else None


def _passes_per_second(card: dict[str, Any] | None) -> float | None:
    """A step of PPO is one forward pass in the rollout, and a forward and a backward pass in each epoch."""
    if not card or not card.get("seconds") or "epochs" not in card.get("ppo", {}):
        return None
    return float(card["steps"] / card["seconds"] * (1 + (1 + BACKWARD) * card["ppo"]["epochs"]))
