"""Train a parent with Stable-Baselines3's PPO, so that it can stop at any moment and go on to the same bits."""

from __future__ import annotations

import random
import time
import warnings
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticCnnPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize, VecTransposeImage
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from evoens.allocator import keep_memory
from evoens.checkpoint import Checkpoint, CheckpointStore, RunLock
from evoens.errors import CheckpointError
from evoens.settings import PPOSettings, ProblemSettings
from evoens.tasks.networks.impala import SIDE, Impala
from evoens.tasks.procgen_env import EnvStates, ProcgenVecEnv


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


class Extractor(BaseFeaturesExtractor):
    """The IMPALA trunk for Stable-Baselines3: `(n, 64, 64, c)` floats 0 to 255 → `(n, 256)`, in the precision given."""

    def __init__(self, space: spaces.Box, widths: tuple[int, ...], precision: str) -> None:
        super().__init__(space, 256)
        self.impala = Impala(space.shape[-1], widths)
        self.precision = precision

    def forward(self, frames: Tensor) -> Tensor:
        """Frames keep their memory order: seen as `(n, c, 64, 64)` they are in channels_last."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bfloat16"):
            return cast(Tensor, self.impala(frames.permute(0, 3, 1, 2).div_(255))).float()


def measured_precision(in_channels: int, widths: tuple[int, ...]) -> str:
    """`float32` or `bfloat16`, whichever trains this network faster on this machine (about a second)."""
    network = Impala(in_channels, widths).to(memory_format=torch.channels_last)
    x = torch.zeros(64, SIDE, SIDE, in_channels).permute(0, 3, 1, 2)

    def seconds(precision: str) -> float:
        times = []
        for _ in range(4):
            start = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
                y = network(x)
            y.float().sum().backward()
            times.append(time.perf_counter() - start)
        return min(times[1:])

    return min(("float32", "bfloat16"), key=seconds)


class _Training:
    """PPO and everything around it that changes while it learns."""

    def __init__(self, settings: PPOSettings, problem: ProblemSettings, seed: int, precision: str) -> None:
        games = ProcgenVecEnv(problem.game, problem.difficulty, problem.levels.train, settings.envs, seed)
        self.games, self.monitor = games, VecMonitor(games)
        self.normalize = VecNormalize(self.monitor, norm_obs=False, gamma=settings.gamma)
        self.stack = VecFrameStack(self.normalize, problem.frame_stack, channels_order="last")
        self.model = PPO(
            ActorCriticCnnPolicy,
            VecTransposeImage(self.stack, skip=True),  # frames stay (h, w, c): channels_last without a copy
            learning_rate=settings.learning_rate,
            n_steps=settings.rollout,
            batch_size=settings.envs * settings.rollout // settings.minibatches,
            n_epochs=settings.epochs,
            gamma=settings.gamma,
            gae_lambda=settings.gae_lambda,
            clip_range=settings.clip,
            ent_coef=settings.entropy,
            vf_coef=settings.value_coefficient,
            max_grad_norm=settings.max_grad_norm,
            target_kl=settings.target_kl,
            seed=seed,
            device="cpu",
            policy_kwargs={
                "net_arch": [],
                "ortho_init": False,
                "normalize_images": False,
                "features_extractor_class": Extractor,
                "features_extractor_kwargs": {"widths": settings.network, "precision": precision},
                "optimizer_kwargs": {"eps": 1e-5},
            },
        )
        policy = self.model.policy
        for layer, gain in ((policy.action_net, 0.01), (policy.value_net, 1.0)):
            nn.init.orthogonal_(cast(nn.Linear, layer).weight, gain)
            nn.init.zeros_(cast(nn.Linear, layer).bias)
        policy.to(memory_format=torch.channels_last)  # after SB3 has built and initialised it
        self.model.set_logger(Logger(None, []))
        self.curve: list[dict[str, Any]] = []
        self.seconds = 0.0

    @property
    def steps(self) -> int:
        return self.model.num_timesteps

    def rollout_and_update(self) -> dict[str, Any]:
        """One turn of SB3's own loop; return its record for the learning curve."""
        start, model = time.perf_counter(), self.model
        model.learn(1, reset_num_timesteps=False, log_interval=None)  # type: ignore[arg-type]
        elapsed = time.perf_counter() - start
        self.seconds += elapsed
        episodes = list(model.ep_info_buffer or ())
        record: dict[str, Any] = {
            "steps": self.steps,
            "seconds": self.seconds,
            "steps_per_second": model.n_steps * model.n_envs / elapsed,
            "episodes": self.monitor.episode_count,
            "return_mean": float(np.mean([float(e["r"]) for e in episodes])) if episodes else None,
            "length_mean": float(np.mean([int(e["l"]) for e in episodes])) if episodes else None,
        }
        record |= {k.removeprefix("train/"): float(v) for k, v in model.logger.name_to_value.items()}
        model.logger.name_to_value.clear()
        self.curve.append(record)
        return record

    def state(self) -> dict[str, Any]:
        """What is small and readable; `tensors` has the rest."""
        rms = self.normalize.ret_rms
        games = self.games.get_states()
        numpy_rng = np.random.get_state(legacy=False)  # noqa: NPY002 (SB3 draws from this one)
        numpy_rng["state"]["key"] = numpy_rng["state"]["key"].tolist()
        return {
            "seconds": self.seconds,
            "curve": self.curve,
            "steps": self.steps,
            "updates": self.model._n_updates,
            "python_rng": random.getstate(),
            "numpy_rng": numpy_rng,
            "episodes": self.monitor.episode_count,
            "recent": [{"r": float(e["r"]), "l": int(e["l"])} for e in self.model.ep_info_buffer or ()],
            "reward_rms": {"mean": float(rms.mean), "var": float(rms.var), "count": float(rms.count)},
            "games": {"settings": games.settings, "sizes": [len(s) for s in games.states], "sha256": games.sha256},
        }

    def tensors(self) -> dict[str, Tensor]:
        """Weights, Adam's moments, torch's RNG, frames, games and the wrappers' arrays."""
        arrays = {
            "frames": self.stack.stacked_obs.stacked_obs,
            "starts": self.model._last_episode_starts,
            "returns": self.normalize.returns,
            "monitor_returns": self.monitor.episode_returns,
            "monitor_lengths": self.monitor.episode_lengths,
            "games": np.frombuffer(b"".join(self.games.get_states().states), np.uint8).copy(),
        }
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        tensors["torch_rng"] = torch.get_rng_state()
        for name, weight in self.model.policy.named_parameters():
            tensors[f"policy/{name}"] = weight
            for key, moment in self.model.policy.optimizer.state[weight].items():
                tensors[f"adam/{name}/{key}"] = moment
        return tensors

    def restore(self, saved: Checkpoint) -> None:
        """Go on from `saved`.

        Raises:
            CheckpointError: it belongs to other games or another network.
        """
        state, tensors, model = saved.state, saved.tensors, self.model
        self._restore_weights(tensors)
        ends = np.cumsum(state["games"]["sizes"])
        games = tuple(part.tobytes() for part in np.split(tensors["games"].numpy(), ends[:-1]))
        self.games.set_states(EnvStates(state["games"]["settings"], games, state["games"]["sha256"]))
        self.stack.stacked_obs.stacked_obs = tensors["frames"].numpy()
        model._last_obs = self.stack.stacked_obs.stacked_obs
        model._last_episode_starts = tensors["starts"].numpy()
        self.normalize.returns = tensors["returns"].numpy()
        rms = state["reward_rms"]
        self.normalize.ret_rms.mean, self.normalize.ret_rms.var = np.float64(rms["mean"]), np.float64(rms["var"])
        self.normalize.ret_rms.count = rms["count"]
        self.monitor.episode_returns = tensors["monitor_returns"].numpy()
        self.monitor.episode_lengths = tensors["monitor_lengths"].numpy()
        self.monitor.episode_count = state["episodes"]
        model.ep_info_buffer = deque(state["recent"], maxlen=100)
        model.ep_success_buffer = deque(maxlen=100)
        model.num_timesteps, model._n_updates = state["steps"], state["updates"]
        self.curve, self.seconds = state["curve"], state["seconds"]
        version, key, gauss = state["python_rng"]
        random.setstate((version, tuple(key), gauss))
        numpy_rng = state["numpy_rng"]
        numpy_rng["state"]["key"] = np.array(numpy_rng["state"]["key"], np.uint32)
        np.random.set_state(numpy_rng)  # noqa: NPY002
        torch.set_rng_state(tensors["torch_rng"])

    @torch.no_grad()
    def _restore_weights(self, tensors: dict[str, Tensor]) -> None:
        policy = self.model.policy
        for name, weight in policy.named_parameters():
            found = tensors.get(f"policy/{name}")
            if found is None or found.shape != weight.shape:
                raise CheckpointError(f"{name}: expected {tuple(weight.shape)}, found {found and tuple(found.shape)}")
            weight.copy_(found)
            step, first, second = (tensors[f"adam/{name}/{k}"] for k in ("step", "exp_avg", "exp_avg_sq"))
            policy.optimizer.state[weight] = {
                "step": step,
                "exp_avg": torch.empty_like(weight).copy_(first),  # in the weight's own memory order
                "exp_avg_sq": torch.empty_like(weight).copy_(second),
            }


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


def _differences(expected: dict[str, Any], found: dict[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for key in expected.keys() | found.keys():
        a, b = expected.get(key), found.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            lines += _differences(a, b, f"{prefix}{key}.")
        elif a != b:
            lines.append(f"{prefix}{key}: the checkpoint has {b!r}, now it is {a!r}")
    return sorted(lines)


def _check_identity(expected: dict[str, Any], found: dict[str, Any], folder: Path, force: bool) -> None:
    differences = _differences(expected, found)
    if not differences:
        return
    message = f"{folder}: this training cannot go on to the same bits: " + "; ".join(differences)
    if not force:
        raise CheckpointError(message)
    warnings.warn(message, stacklevel=3)


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
    """
    keep_memory()
    identity = _identity(settings, problem, seed)
    store = CheckpointStore(folder / "checkpoints")
    with RunLock(folder):
        saved, skipped = store.latest()
        for sentence in skipped:
            warnings.warn(sentence, stacklevel=2)
        if saved is None:
            precision = measured_precision(3 * problem.frame_stack, settings.network)
        else:
            _check_identity(identity, saved.state["identity"], folder, force)
            precision = saved.state["precision"]
        training = _Training(settings, problem, seed, precision)
        if saved is not None:
            training.restore(saved)
        writer = SummaryWriter(folder / "tb", purge_step=training.steps + 1) if tensorboard else None
        session_start = (training.steps, training.seconds)
        while training.steps < min(settings.steps, stop_after or settings.steps):
            record = training.rollout_and_update()
            state = {"identity": identity, "precision": precision, "total": settings.steps, **training.state()}
            store.save(training.steps, state, training.tensors())
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
            writer.add_scalar(name, value, record["steps"])  # type: ignore[no-untyped-call]
    writer.flush()  # type: ignore[no-untyped-call]


def _progress(training: _Training, total: int, session_start: tuple[int, float]) -> Progress:
    speed = (training.steps - session_start[0]) / (training.seconds - session_start[1])
    left = max(0, total - training.steps) / speed
    record = training.curve[-1]
    return Progress(training.steps, total, record["steps_per_second"], left, record["return_mean"])
