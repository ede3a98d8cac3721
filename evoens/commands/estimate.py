"""What a run would do, and about what it would cost, before it does anything."""

from __future__ import annotations

from typing import Any

from evoens.settings import CANDIDATES, SO_FAR, Config

BACKWARD = 2  # a backward pass costs about two forward passes


def estimate(config: Config, card: dict[str, Any] | None) -> dict[str, Any]:
    """Return splits, evaluations and their cost.

    A policy's passes are counted as frames × members, or as frames where a scope lets members share most of one; how
    long an episode lasts, and how many passes a second the machine does, are taken from the training that the parent's
    card describes.

    Args:
        config: the checked YAML.
        card: the parent's card; None where the parent is yet to be trained.
    """
    evaluations = _evaluations(config)
    found: dict[str, Any] = {
        "splits": {name: str(levels) for name, levels in config.problem.levels if name != "train"},
        "evaluations": {name: children for name, (children, _, _) in evaluations.items()},
        "episodes": sum(children * levels for children, levels, _ in evaluations.values()),
        "training_steps": 0 if card else config.parent.train.steps,
    }
    lasts, speed = _length(card), _passes_per_second(card)
    if lasts and speed:
        passes = lasts * sum(children * levels * members for children, levels, members in evaluations.values())
        found |= {"episode_length": round(lasts), "passes": round(passes), "seconds": round(passes / speed)}
    return found


def _evaluations(config: Config) -> dict[str, tuple[int, int, int]]:
    """For each stage: policies measured, levels each, members each."""
    levels, size = config.problem.levels, config.selection.size
    members = 1 if config.strategy.scope else size
    population, generations = config.search.population, config.search.generations
    racing = config.search.racing
    contestants = {"parent and best child": (2, 1), "random children and ensemble": (2, members)}
    searched = max(levels.search.count, racing.levels if racing else 0)
    return {
        "search": (population * generations + 1, searched, 1),
        "ensembles so far": (generations, min(SO_FAR, levels.search.count), members),
        "select": (min(CANDIDATES * size, population * generations), levels.select.count, 1),
        **{
            f"test, {who}": (2 * n, levels.test.count, passes)  # two rules of action
            for who, (n, passes) in contestants.items()
        },
    }


def _length(card: dict[str, Any] | None) -> float | None:
    lengths = [row["length_mean"] for row in (card or {}).get("curve", []) if row.get("length_mean")]
    return float(lengths[-1]) if lengths else None


def _passes_per_second(card: dict[str, Any] | None) -> float | None:
    """A step of PPO is one forward pass in the rollout, and a forward and a backward pass in each epoch."""
    if not card or not card.get("seconds") or "epochs" not in card.get("ppo", {}):
        return None
    return float(card["steps"] / card["seconds"] * (1 + (1 + BACKWARD) * card["ppo"]["epochs"]))
