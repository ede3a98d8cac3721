"""Train a parent with Stable-Baselines3's PPO, so that it can stop at any moment and go on to the same bits."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from evoens.allocator import keep_memory
from evoens.checkpoint import CheckpointStore, RunLock, require_same
from evoens.errors import ConfigError
from evoens.settings import PPOSettings, ProblemSettings
from evoens.tasks.sb3 import Training, measured_precision


@dataclass(frozen=True)
class Progress:
    """Where a training stands: environment steps, steps per second, seconds to go, mean return of 100 episodes."""

    steps: int
    total: int
    steps_per_second: float
    seconds_left: float
    return_mean: float | None


@dataclass(frozen=True)
class TrainedParent:
    """A training as far as it got: `curve` has one record per rollout."""

    folder: Path
    steps: int
    seconds: float
    curve: list[dict[str, Any]]


def _identity(settings: PPOSettings, problem: ProblemSettings, seed: int) -> dict[str, Any]:
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
    problem: ProblemSettings,
    seed: int,
    folder: Path,
    *,
    on_progress: Callable[[Progress], None] | None = None,
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
    if settings.envs * settings.rollout % settings.minibatches:
        raise ConfigError(
            f"minibatches: expected a divisor of envs × rollout ({settings.envs * settings.rollout}), "
            f"found {settings.minibatches}"
        )
    keep_memory()
    identity = _identity(settings, problem, seed)
    store = CheckpointStore(folder / "checkpoints")
    with RunLock(folder):
        saved, skipped = store.latest()
        if saved is None:
            precision = measured_precision(3 * problem.frame_stack, settings.network)
        else:
            skipped += require_same(identity, saved.state["identity"], folder, force)
            precision = saved.state["precision"]
        for sentence in skipped:
            warnings.warn(sentence, stacklevel=2)
        training = Training(settings, problem, seed, precision)
        if saved is not None:
            training.restore(saved)
        writer = SummaryWriter(folder / "tb", purge_step=training.steps + 1) if tensorboard else None
        session_start = (training.steps, training.seconds)
        while training.steps < min(settings.steps, stop_after or settings.steps):
            record = training.rollout_and_update()
            state, tensors = training.checkpoint()
            store.save(training.steps, {"identity": identity, "precision": precision, **state}, tensors)
            if writer is not None:
                _write_scalars(writer, record)
            if on_progress is not None:
                on_progress(_progress(training, settings.steps, session_start))
        if writer is not None:
            writer.close()
        training.games.close()
    return TrainedParent(folder, training.steps, training.seconds, training.curve)


def _write_scalars(writer: SummaryWriter, record: dict[str, Any]) -> None:
    for name, value in record.items():
        if value is not None and name not in ("steps", "seconds"):
            writer.add_scalar(name, value, record["steps"])
    writer.flush()


def _progress(training: Training, total: int, session_start: tuple[int, float]) -> Progress:
    speed = (training.steps - session_start[0]) / (training.seconds - session_start[1])
    left = max(0, total - training.steps) / speed
    record = training.curve[-1]
    return Progress(training.steps, total, record["steps_per_second"], left, record["return_mean"])
