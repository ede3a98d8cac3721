"""A parent to share: `<path>.safetensors` holds the policy's weights, `<path>.json` is its card: whence they are."""

from __future__ import annotations

import hashlib
import json
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from evoens.checkpoint import Checkpoint, CheckpointStore, write_atomic
from evoens.errors import CheckpointError
from evoens.tasks.networks.impala import ACTIONS, ImpalaPolicy

_POINTS = 200
_KEPT = ("steps", "seconds", "episodes", "return_mean", "length_mean")
_RENAMED = {"policy/features_extractor.impala.": "trunk.", "policy/action_net.": "head."}


def _files(path: Path) -> tuple[Path, Path]:
    stem = path.with_suffix("") if path.suffix in (".safetensors", ".json") else path
    return stem.with_name(f"{stem.name}.safetensors"), stem.with_name(f"{stem.name}.json")


def export_parent(path: Path, weights: dict[str, Tensor], card: dict[str, Any]) -> dict[str, Any]:
    """Write `<path>.safetensors` and `<path>.json`.

    Args:
        path: with or without one of the two endings; its folder is made when missing.
        weights: the state dict of an ImpalaPolicy.
        card: what to say of it, JSON.

    Returns:
        The card as written: `card` with the number of weights, bytes and sha256 of the weights' file.
    """
    weights_file, card_file = _files(path)
    data = save({name: weight.detach().contiguous() for name, weight in weights.items()})
    count = sum(weight.numel() for weight in weights.values())
    card = {**card, "weights": count, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    card_file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(weights_file, data)
    write_atomic(card_file, json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    return card


def export_from(folder: Path, path: Path, command: str | None = None) -> dict[str, Any]:
    """Export the newest intact checkpoint of a training, finished or not, running or not.

    Args:
        folder: where it trains.
        path: as for `export_parent`.
        command: how to make this parent again, for the card.

    Returns:
        The card.

    Raises:
        CheckpointError: `folder` has no intact checkpoint.
    """
    saved, skipped = CheckpointStore(folder / "checkpoints").latest()
    if saved is None:
        raise CheckpointError("\n".join([f"{folder}: expected a training with a checkpoint, found none", *skipped]))
    for sentence in skipped:
        warnings.warn(sentence, stacklevel=2)
    weights = {
        new + name.removeprefix(old): tensor
        for old, new in _RENAMED.items()
        for name, tensor in saved.tensors.items()
        if name.startswith(old)
    }
    return export_parent(path, weights, _card(saved, command))


def _card(saved: Checkpoint, command: str | None) -> dict[str, Any]:
    state, identity = saved.state, saved.state["identity"]
    problem, settings = identity["problem"], identity["settings"]
    places = torch.linspace(0, len(state["curve"]) - 1, min(_POINTS, len(state["curve"]))).round().int().tolist()
    curve = [{key: state["curve"][i][key] for key in _KEPT} for i in places]
    return {
        "architecture": {
            "target": "evoens.tasks.networks.impala:ImpalaPolicy",
            "arguments": {"widths": settings["network"], "in_channels": 3 * problem["frame_stack"]},
        },
        **problem,
        "levels": identity["levels"],
        "network": settings["network"],
        "actions": ACTIONS,
        "seed": identity["seed"],
        "steps": state["steps"],
        "seconds": state["seconds"],
        "command": command,
        "ppo": settings,
        "precision": state["precision"],
        "versions": identity["machine"] | {name: version(name) for name in ("stable-baselines3",)},
        "returns": {"train": curve[-1]["return_mean"]},
        "curve": curve,
    }


def load_policy(path: Path) -> tuple[ImpalaPolicy, dict[str, Any]]:
    """Load a parent: the policy (in `eval`, channels_last) and its card.

    Args:
        path: with or without one of the two endings.

    Raises:
        CheckpointError: a file is missing, or the weights are not those of the card.
    """
    weights_file, card_file = _files(path)
    card = _read_card(card_file)
    try:
        data = weights_file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{weights_file}: expected a parent's weights, found none ({error.strerror})") from error
    found = hashlib.sha256(data).hexdigest()
    if (len(data), found) != (card["bytes"], card["sha256"]):
        raise CheckpointError(
            f"{weights_file}: expected {card['bytes']} bytes with sha256 {card['sha256']} as {card_file.name} says, "
            f"found {len(data)} bytes with sha256 {found}"
        )
    policy = ImpalaPolicy(**card["architecture"]["arguments"])
    policy.load_state_dict(load(data))
    return policy.to(memory_format=torch.channels_last).eval(), card


def _read_card(file: Path) -> dict[str, Any]:
    try:
        card: dict[str, Any] = json.loads(file.read_bytes())
        missing = {"bytes", "sha256", "architecture"} - card.keys()
    except FileNotFoundError as error:
        raise CheckpointError(f"{file}: expected a parent's card, found no such file") from error
    except (OSError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{file}: expected a parent's card, found something unreadable ({error})") from error
    if missing:
        raise CheckpointError(f"{file}: expected a parent's card, found one without {', '.join(sorted(missing))}")
    return card
