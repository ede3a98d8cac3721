"""Whether a policy on disk fits the game, the levels and the scope of a YAML; checked without loading it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evoens.config.faults import Fault
from evoens.config.overrides import Override
from evoens.config.yaml_file import Keys
from evoens.errors import CheckpointError, SpecError
from evoens.scope import resolve
from evoens.settings.procgen import GAMES, NO_PROCGEN, Levels, ProcgenConfig
from evoens.storage.card import find_parent, read_parent, tensor_names


def policy_faults(config: ProcgenConfig, base: Path, retrain: bool) -> Iterator[Fault]:
    """What the parent's files say, where they are there and are to be used: whether they fit the YAML."""
    if find_spec("procgen") is None:
        yield Fault(("problem", "game"), NO_PROCGEN)
    path = find_parent(config.parent.checkpoint, base)
    if retrain or path is None:
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


def parent_of_game(value: Any, overrides: Sequence[Override]) -> Override | None:
    """Return the checkpoint of another game's parent, where the command line asks for that game, and nothing of it.

    It is the YAML's, with the new game's name in the place of the old one's.
    """
    asked = [override for override in overrides if override.keys == ("problem", "game")]
    try:
        old, checkpoint = value["problem"]["game"], value["parent"]["checkpoint"]
        path, game = Path(checkpoint), asked[-1].value
    except (IndexError, KeyError, TypeError):
        return None
    own = any(override.keys[:1] == ("parent",) and override.keys[1:] in ((), ("checkpoint",)) for override in overrides)
    if own or game == old or game not in GAMES or old not in GAMES or old not in path.name:
        return None
    return Override(("parent", "checkpoint"), str(path.with_name(path.name.replace(old, game))), asked[-1].label)


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
