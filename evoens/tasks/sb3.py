"""Stable-Baselines3's PPO on Procgen with an IMPALA network, and all of its state, to save and to restore exactly."""

from __future__ import annotations

import contextlib
import io
import random
import time
from collections import deque
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar, cast

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn

from evoens.errors import CheckpointError
from evoens.settings.procgen import PPOSettings, ProcgenSettings
from evoens.tasks.networks.impala import Impala
from evoens.tasks.procgen_env import EnvStates, ProcgenVecEnv

with contextlib.redirect_stderr(io.StringIO()):  # the old gym, imported by this, prints a banner
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.logger import Logger
    from stable_baselines3.common.policies import ActorCriticCnnPolicy
    from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
    from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize, VecTransposeImage


RENAMED = {"features_extractor.impala.": "trunk.", "action_net.": "head."}
T = TypeVar("T")


def by_policy_names(named: Mapping[str, T]) -> dict[str, T]:
    """Return what Stable-Baselines3 names by an `ImpalaPolicy`'s names; the value head is left out."""
    return {
        new + name.removeprefix(old): value
        for old, new in RENAMED.items()
        for name, value in named.items()
        if name.startswith(old)
    }


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


def hyperparameters(settings: PPOSettings) -> dict[str, Any]:
    """Return what Stable-Baselines3's PPO takes of the settings, by its own names."""
    return {
        "learning_rate": settings.learning_rate,
        "n_steps": settings.rollout,
        "batch_size": settings.envs * settings.rollout // settings.minibatches,
        "n_epochs": settings.epochs,
        "gamma": settings.gamma,
        "gae_lambda": settings.gae_lambda,
        "clip_range": settings.clip,
        "ent_coef": settings.entropy,
        "vf_coef": settings.value_coefficient,
        "max_grad_norm": settings.max_grad_norm,
    }


class Training:
    """PPO and everything around it that changes while it learns.

    Args:
        settings: of PPO.
        problem: the game; it is learned on `problem.levels.train`.
        seed: of weights, actions, minibatches and the order of levels.
        precision: `float32` or `bfloat16`, of the trunk; see `evoens.tasks.precision`.
        own: arguments of PPO that take the place of these.
    """

    callback: BaseCallback | None = None

    def __init__(
        self,
        settings: PPOSettings,
        problem: ProcgenSettings,
        seed: int,
        precision: str,
        *,
        own: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        games = ProcgenVecEnv(problem.game, problem.difficulty, problem.levels.train, settings.envs, seed)
        self.games, self.monitor = games, VecMonitor(games)
        self.normalize = VecNormalize(self.monitor, norm_obs=False, gamma=settings.gamma)
        self.stack = VecFrameStack(self.normalize, problem.frame_stack, channels_order="last")
        self.model = PPO(
            ActorCriticCnnPolicy,
            VecTransposeImage(self.stack, skip=True),  # frames stay (h, w, c): channels_last without a copy
            **{**hyperparameters(settings), "seed": seed, **own},
            target_kl=settings.target_kl,
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
            layer = cast(nn.Linear, layer)
            nn.init.orthogonal_(layer.weight, gain)
            nn.init.zeros_(layer.bias)
        policy.to(memory_format=torch.channels_last)  # after SB3 has built and initialised it
        self.settings = settings
        self.model.lr_schedule = lambda _: self.learning_rate()  # SB3's own counts from the last call of `learn`
        self.model.set_logger(Logger(None, []))
        self.curve: list[dict[str, Any]] = []
        self.seconds = 0.0

    @property
    def steps(self) -> int:
        """Environment steps so far."""
        return self.model.num_timesteps

    def learning_rate(self) -> float:
        """Return the rate of the update that follows on the newest rollout."""
        own = self.settings
        left = 1 - (self.steps - own.envs * own.rollout) / own.steps
        return own.learning_rate * (min(1.0, left / own.cooldown) if own.cooldown else 1.0)

    def rollout_and_update(self) -> dict[str, Any]:
        """One turn of SB3's own loop; return its record for the learning curve."""
        start, model = time.perf_counter(), self.model
        model.learn(1, self.callback, reset_num_timesteps=False, log_interval=None)  # type: ignore[arg-type]
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

    def checkpoint(self) -> tuple[dict[str, Any], dict[str, Tensor]]:
        """All that decides how the training goes on: what is small and readable, and the tensors."""
        games = self.games.get_states()
        return self._state(games), self._tensors(games)

    def _state(self, games: EnvStates) -> dict[str, Any]:
        rms = self.normalize.ret_rms
        return {
            "seconds": self.seconds,
            "curve": self.curve,
            "steps": self.steps,
            "updates": self.model._n_updates,
            **self._generators(),
            "episodes": self.monitor.episode_count,
            "recent": [{"r": float(e["r"]), "l": int(e["l"])} for e in self.model.ep_info_buffer or ()],
            "reward_rms": {"mean": float(rms.mean), "var": float(rms.var), "count": float(rms.count)},
            "games": {"settings": games.settings, "sizes": [len(s) for s in games.states], "sha256": games.sha256},
        }

    def _generators(self) -> dict[str, Any]:
        """The state of Python's and NumPy's own generators, from which Stable-Baselines3 draws."""
        numpy_rng = np.random.get_state(legacy=False)  # noqa: NPY002
        numpy_rng["state"]["key"] = numpy_rng["state"]["key"].tolist()
        return {"python_rng": random.getstate(), "numpy_rng": numpy_rng}

    def _torch_generator(self) -> Tensor:
        return torch.get_rng_state()

    def _tensors(self, games: EnvStates) -> dict[str, Tensor]:
        arrays = {
            "frames": self.stack.stacked_obs.stacked_obs,
            "starts": self.model._last_episode_starts,
            "returns": self.normalize.returns,
            "monitor_returns": self.monitor.episode_returns,
            "monitor_lengths": self.monitor.episode_lengths,
            "games": np.frombuffer(b"".join(games.states), np.uint8).copy(),
        }
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        tensors["torch_rng"] = self._torch_generator()
        for name, weight in self.model.policy.named_parameters():
            tensors[f"policy/{name}"] = weight
            for key, moment in self.model.policy.optimizer.state[weight].items():
                tensors[f"adam/{name}/{key}"] = moment
        return tensors

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `checkpoint` returned, bit for bit.

        Raises:
            CheckpointError: it belongs to other games or another network.
        """
        model = self.model
        self._restore_weights(tensors)
        self._restore_games(state, tensors)
        model._last_obs = self.stack.stacked_obs.stacked_obs
        model._last_episode_starts = tensors["starts"].numpy()
        model.ep_info_buffer = deque(state["recent"], maxlen=100)
        model.ep_success_buffer = deque(maxlen=100)
        model.num_timesteps, model._n_updates = state["steps"], state["updates"]
        self.curve, self.seconds = state["curve"], state["seconds"]
        self._restore_generators(state, tensors["torch_rng"])

    def _restore_generators(self, state: Mapping[str, Any], torch_rng: Tensor) -> None:
        version, words, gauss = state["python_rng"]
        random.setstate((version, tuple(words), gauss))
        inner = {**state["numpy_rng"]["state"], "key": np.array(state["numpy_rng"]["state"]["key"], np.uint32)}
        np.random.set_state({**state["numpy_rng"], "state": inner})  # noqa: NPY002
        torch.set_rng_state(torch_rng)

    def _restore_games(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        ends = np.cumsum(state["games"]["sizes"])
        games = tuple(part.tobytes() for part in np.split(tensors["games"].numpy(), ends[:-1]))
        self.games.set_states(EnvStates(state["games"]["settings"], games, state["games"]["sha256"]))
        self.monitor.episode_returns = tensors["monitor_returns"].numpy()
        self.monitor.episode_lengths = tensors["monitor_lengths"].numpy()
        self.monitor.episode_count = state["episodes"]
        self.normalize.returns = tensors["returns"].numpy()
        rms, saved = self.normalize.ret_rms, state["reward_rms"]
        rms.mean, rms.var, rms.count = np.array(saved["mean"]), np.array(saved["var"]), saved["count"]
        self.stack.stacked_obs.stacked_obs = tensors["frames"].numpy()

    @torch.no_grad()
    def _restore_weights(self, tensors: Mapping[str, Tensor]) -> None:
        policy = self.model.policy
        for name, weight in policy.named_parameters():
            found = tensors.get(f"policy/{name}")
            if found is None or found.shape != weight.shape:
                shape = None if found is None else tuple(found.shape)
                raise CheckpointError(f"the saved weight {name}: expected {tuple(weight.shape)}, found {shape}")
            weight.copy_(found)
            if f"adam/{name}/step" not in tensors:  # no update has moved it yet
                continue
            step, first, second = (tensors[f"adam/{name}/{k}"] for k in ("step", "exp_avg", "exp_avg_sq"))
            policy.optimizer.state[weight] = {
                "step": step,
                "exp_avg": torch.empty_like(weight).copy_(first),  # in the weight's own memory order
                "exp_avg_sq": torch.empty_like(weight).copy_(second),
            }
