"""Train a parent with Stable-Baselines3's PPO, stop at any moment, go on to the same bits; export and load it.

A parent to share is two files: `<path>.safetensors`, the policy's weights, and `<path>.json`, its card.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from evoens.errors import CheckpointError, ConfigError
from evoens.machine.allocator import keep_memory
from evoens.progress import OnProgress, Progress
from evoens.settings.procgen import PPOSettings, ProcgenSettings
from evoens.storage.card import parent_files, read_parent
from evoens.storage.checkpoint import Checkpoint, CheckpointStore, RunLock, require_same
from evoens.storage.json_file import as_written
from evoens.storage.tensor_file import parse_tensors
from evoens.tasks.export import newest, write_parent
from evoens.tasks.networks.impala import ACTIONS, ImpalaPolicy
from evoens.tasks.precision import precision_of
from evoens.tasks.sb3 import Training, by_policy_names

_POINTS = 200  # of the learning curve, at most, on a card
_CURVE = ("steps", "seconds", "episodes", "return_mean", "length_mean")


@dataclass(frozen=True)
class TrainedParent:
    """A training as far as it got: `curve` has one record per rollout."""

    folder: Path
    steps: int
    seconds: float
    curve: list[dict[str, Any]]


def training_identity(settings: PPOSettings, problem: ProcgenSettings, seed: int) -> dict[str, Any]:
    """All that decides the bits of a training; the number of steps may grow."""
    return {
        "settings": settings.model_dump(mode="json", exclude={"steps"}),
        "problem": problem.model_dump(mode="json", include={"game", "difficulty", "frame_stack"}),
        "levels": problem.levels.train.model_dump(),
        "seed": seed,
        "machine": {
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "cpu": torch.backends.cpu.get_cpu_capability(),
        },
    }


def train_parent(
    settings: PPOSettings,
    problem: ProcgenSettings,
    seed: int,
    folder: Path,
    *,
    on_progress: OnProgress | None = None,
    tensorboard: bool = True,
    stop_after: int | None = None,
    force: bool = False,
) -> TrainedParent:
    """Train in `folder`, or go on from its newest intact checkpoint to the bits an unbroken training would have.

    A checkpoint is written after every rollout and its update; a kill or Ctrl-C loses at most one of these.

    Args:
        settings: PPO's settings; `steps` is the whole budget in environment steps.
        problem: the game; the parent learns on `problem.levels.train`.
        seed: of weights, actions, minibatches and order of levels.
        folder: for checkpoints, TensorBoard (`tb`) and the lock.
        on_progress: called after every rollout.
        tensorboard: whether to write scalars.
        stop_after: stop (as if killed between rollouts) at this many steps.
        force: warn, do not refuse, where settings, threads or versions differ from the checkpoint's.

    Raises:
        CheckpointError: another process uses the folder, or its checkpoint does not belong to these settings.
        ConfigError: the minibatches do not divide a rollout.
    """
    if settings.frames_of_rollout % settings.minibatches:
        raise ConfigError(
            f"minibatches: expected a divisor of envs × rollout ({settings.frames_of_rollout}), "
            f"found {settings.minibatches}"
        )
    training = train_in(
        lambda precision: Training(settings, problem, seed, precision),
        training_identity(settings, problem, seed),
        settings.steps,
        folder,
        on_progress=on_progress,
        tensorboard=tensorboard,
        stop_after=stop_after,
        force=force,
    )
    return TrainedParent(folder, training.steps, training.seconds, training.curve)


Made = TypeVar("Made", bound=Training)


def train_in(
    make: Callable[[str], Made],
    identity: Mapping[str, Any],
    steps: int,
    folder: Path,
    *,
    on_progress: OnProgress | None = None,
    tensorboard: bool = True,
    stop_after: int | None = None,
    force: bool = False,
) -> Made:
    """Train in `folder` as `train_parent` does.

    Args:
        make: gives the training at its beginning, in a precision.
        identity: what must be as it was to go on.
        steps: when it ends.
        folder: this and what follows are as for `train_parent`.
        on_progress: called after every rollout.
        tensorboard: whether to write scalars.
        stop_after: stop at this many steps.
        force: warn, do not refuse.
    """
    keep_memory()
    store = CheckpointStore(folder / "checkpoints")
    with RunLock(folder):
        saved, skipped = store.latest()
        if saved is None:
            precision = precision_of("auto")
        else:
            skipped += require_same(dict(identity), saved.state["identity"], folder, force)
            precision = saved.state["precision"]
        for sentence in skipped:
            warnings.warn(sentence, stacklevel=3)
        training = make(precision)
        if saved is not None:
            training.restore(saved.state, saved.tensors)
        writer = SummaryWriter(folder / "tb", purge_step=training.steps + 1) if tensorboard else None
        session_start = (training.steps, training.seconds)
        while training.steps < min(steps, stop_after or steps):
            record = training.rollout_and_update()
            state, tensors = training.checkpoint()
            store.save(training.steps, {"identity": identity, "precision": precision, **state}, tensors)
            if writer is not None:
                _write_scalars(writer, record)
            if on_progress is not None:
                on_progress(_progress(training, steps, session_start))
        if writer is not None:
            writer.close()
        training.games.close()
    return training


def _write_scalars(writer: SummaryWriter, record: dict[str, Any]) -> None:
    for name, value in record.items():
        if value is not None and name not in ("steps", "seconds"):
            writer.add_scalar(name, value, record["steps"])
    writer.flush()


def _progress(training: Training, total: int, session_start: tuple[int, float]) -> Progress:
    speed = (training.steps - session_start[0]) / (training.seconds - session_start[1])
    left = max(0, total - training.steps) / speed
    record = training.curve[-1]
    reached = "" if record["return_mean"] is None else f"return {record['return_mean']:.2f}"
    return Progress(training.steps, total, record["steps_per_second"], left, reached)


def export_from(folder: Path, path: Path, command: str | None = None) -> Path:
    """Export the newest intact checkpoint of a training, finished or not, running or not.

    Args:
        folder: where it trains.
        path: as for `write_parent`.
        command: how to make this parent again, for the card.

    Returns:
        The file of the weights.

    Raises:
        CheckpointError: `folder` has no intact checkpoint.
    """
    saved = newest(folder)
    weights = {name.removeprefix("policy/"): tensor for name, tensor in saved.tensors.items()}
    return write_parent(path, by_policy_names(weights), _card(saved, command))


def _card(saved: Checkpoint, command: str | None) -> dict[str, Any]:
    state, identity = saved.state, saved.state["identity"]
    problem, settings, curve = identity["problem"], identity["settings"], state["curve"]
    places = np.linspace(0, len(curve) - 1, min(_POINTS, len(curve))).round().astype(int)
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
        "versions": {**identity["machine"], "stable-baselines3": version("stable-baselines3")},
        "returns": {"train": curve[-1]["return_mean"]},
        "curve": [{key: curve[i][key] for key in _CURVE} for i in places],
    }


def load_policy(path: Path) -> tuple[ImpalaPolicy, dict[str, Any]]:
    """Load a parent: the policy (in `eval`, channels_last) and its card.

    Args:
        path: with or without one of the two endings.

    Raises:
        CheckpointError: a file is missing, or the weights are not those of the card.
    """
    data, card = read_parent(path)
    with as_written(parent_files(path)[1], "a policy's card"):
        policy = ImpalaPolicy(**card["architecture"]["arguments"])
    try:
        policy.load_state_dict(parse_tensors(data, parent_files(path)[0]))
    except RuntimeError as error:
        why = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{path}: expected the weights of its card's network, found others: {why}") from error
    return policy.to(memory_format=torch.channels_last).eval(), card
