"""Procgen as a type of problem: its settings, their checks, its estimate; imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evoens.errors import CheckpointError, SpecError
from evoens.progress import OnCount, no_progress
from evoens.scope import resolve
from evoens.settings.config import SO_FAR
from evoens.settings.fault import Fault, Keys
from evoens.settings.procgen import NO_PROCGEN, Levels, ProcgenConfig
from evoens.storage.card import find_parent, read_parent, tensor_names
from evoens.tasks.task_type import Stages, TaskType

if TYPE_CHECKING:
    from evoens.tasks.procgen_task import ProcgenTask

BACKWARD = 2  # a backward pass costs about two forward passes
ONE_NETWORK = ("trained_on", "averaged", "one_child", "soup")  # of which each plays the test levels
RULES = 2  # of action, by which a policy plays the test levels
ONE_RULE = "test, one rule"  # by which alone one at a temperature plays them
SEEN = "train levels, one rule"
WHOLE = ("test", ONE_RULE, SEEN)  # of which no game is cut


class ProcgenType(TaskType):
    """See `TaskType`."""

    settings = ProcgenConfig

    @classmethod
    def open(cls, config: ProcgenConfig, base: Path, told: OnCount = no_progress) -> ProcgenTask:
        """See `TaskType.open`."""
        from evoens.tasks.procgen_task import ProcgenTask  # noqa: PLC0415 (torch, Procgen and Stable-Baselines3)

        return ProcgenTask(config)

    @classmethod
    def faults(cls, config: ProcgenConfig, base: Path, *, retrain: bool, parent: bool) -> Iterator[Fault]:
        """See `TaskType.faults`: of Procgen itself, and of the policy where it is there and is to be used."""
        if find_spec("procgen") is None:
            yield Fault(("problem", "game"), NO_PROCGEN)
        if parent and not retrain:
            yield from policy_faults(config, base)

    @classmethod
    def estimate(cls, config: ProcgenConfig, card: dict[str, Any] | None, stages: Stages) -> dict[str, Any]:
        """See `TaskType.estimate`.

        Passes are counted as frames × members, or as frames where a scope lets members share most of one; how long an
        episode lasts, and how many passes a second the machine does, are taken from the training that the card
        describes.
        """
        levels, trained, stages = _levels(config), _frames(config), {**stages, **_tempered(config, stages)}
        if trained:
            stages["test, one network of as many frames"] = (len(ONE_NETWORK), "test", 1)
        if config.problem.seen:
            (*_, members) = stages["test, random children and ensemble"]
            stages |= {f"train, {who}": (1, SEEN, size) for who, size in (("parent", 1), ("ensemble", members))}
        games = {name: children * levels[split] for name, (children, split, _) in stages.items()}
        found: dict[str, Any] = {
            "splits": {name: str(levels) for name, levels in config.problem.levels if name != "train"},
            "episodes": sum(games.values()),
            **_parent_training(config, card),
            **({"training_frames": trained} if trained else {}),
        }
        lasts, speed = _length(card), _passes_per_second(card)
        if lasts and speed:
            cut = min(lasts, config.problem.max_episode_steps or lasts)  # test games are never cut
            passes = sum(
                games[name] * (lasts if split in WHOLE else cut) * members
                for name, (_, split, members) in stages.items()
            )
            found |= {"episode_length": round(lasts), "passes": round(passes), "seconds": round(passes / speed)}
        if trained and speed and config.tune is not None:
            learnt = sum(trained.values()) * _passes_of_frame(config.tune.epochs)
            found["training_seconds"] = round(learnt / speed)
        return found


def policy_faults(config: ProcgenConfig, base: Path) -> Iterator[Fault]:
    """Yield in what a policy on disk does not fit the game, the levels and the scope; it is not loaded."""
    path = find_parent(config.parent.checkpoint, base)
    if path is None:
        return
    keys: Keys = ("parent", "checkpoint")
    try:
        data, card = read_parent(path)
        names = tensor_names(data, path)
    except CheckpointError as error:
        yield Fault(keys, f"{error}; --retrain trains one anew")
        return
    problem = config.problem
    for key in ("game", "frame_stack"):
        if key in card and card[key] != getattr(problem, key):
            message = f"expected {card[key]}, as the parent {path} was trained on, found {getattr(problem, key)}"
            yield Fault(("problem", key), message, (keys,))
    if "network" in card and card["network"] != list(config.parent.train.network):
        message = f"expected {card['network']}, as the parent {path} has, found {list(config.parent.train.network)}"
        yield Fault(("parent", "train", "network"), f"{message}; --retrain trains one anew", (keys,))
    yield from _seen_levels(config, card, path)
    try:
        resolve(config.strategy.scope, names)
    except SpecError as error:
        yield Fault(("strategy", "scope"), str(error), (keys,))


def _seen_levels(config: ProcgenConfig, card: dict[str, Any], path: Path) -> Iterator[Fault]:
    """Splits that overlap what the parent has learnt on, whatever the YAML says of `train`."""
    if "levels" not in card:
        return
    learnt = Levels.model_validate(card["levels"])
    for name in ("search", "select", "test"):
        levels = getattr(config.problem.levels, name)
        if levels.overlaps(learnt):
            message = f"expected levels that the parent {path} has not learnt on ({learnt}), found {levels}"
            yield Fault(("problem", "levels", name), message, (("parent", "checkpoint"),))


def _levels(config: ProcgenConfig) -> dict[str, int]:
    """How many levels are played of each split, by one predictor."""
    counts, racing = config.problem.counts, config.search.racing
    so_far = min(SO_FAR, counts["search"])
    searched = max(counts["search"], racing.levels if racing else 0)
    return {
        **counts,
        "search": searched,
        "so far": so_far,
        "test": RULES * counts["test"],
        ONE_RULE: counts["test"],
        SEEN: config.problem.seen or 0,
    }


def _tempered(config: ProcgenConfig, stages: Stages) -> Stages:
    """What parent and ensemble play to find their action temperatures, and at most with them."""
    tried, (*_, members) = len(config.problem.action_temperatures), stages["test, random children and ensemble"]
    return {
        f"{split}, {who} at its temperature": (count, split, size)
        for who, size in (("parent", 1), ("ensemble", members))
        for split, count in (("select", tried), (ONE_RULE, min(tried, 1)))
    }


def _frames(config: ProcgenConfig) -> dict[str, int]:
    """How many frames children learn from, where they are trained, and one network as long as all of them."""
    if config.tune is None:
        return {}
    children = config.search.population * config.search.generations * config.tune.whole_frames
    return {"children": children, "parent trained on": children, "one child": children}


def _parent_training(config: ProcgenConfig, card: dict[str, Any] | None) -> dict[str, int]:
    """How long the parent is trained first, where it is."""
    if card is not None:
        return {"training_steps": 0}
    own = config.parent.train
    return {"training_steps": own.steps, "training_passes": own.steps * _passes_of_frame(own.epochs)}


def _length(card: dict[str, Any] | None) -> float | None:
    lengths = [row["length_mean"] for row in (card or {}).get("curve", []) if row.get("length_mean")]
    return float(lengths[-1]) if lengths else None


def _passes_per_second(card: dict[str, Any] | None) -> float | None:
    if not card or not card.get("seconds") or "epochs" not in card.get("ppo", {}):
        return None
    return float(card["steps"] / card["seconds"] * _passes_of_frame(card["ppo"]["epochs"]))


def _passes_of_frame(epochs: int) -> int:
    """A step of PPO is one forward pass in the rollout, and a forward and a backward pass in each epoch."""
    return 1 + (1 + BACKWARD) * epochs
