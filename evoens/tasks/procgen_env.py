"""Procgen without its traps: a VecEnv for Stable-Baselines3, and an env that plays exactly the levels asked for."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from evoens.errors import CheckpointError, ProblemError
from evoens.settings.procgen import NO_PROCGEN, Levels
from evoens.tasks.networks.impala import ACTIONS, SIDE

with contextlib.redirect_stderr(io.StringIO()):  # the old gym, imported by both, prints a banner
    try:
        from procgen import ProcgenGym3Env
    except ModuleNotFoundError as error:
        raise ProblemError(NO_PROCGEN) from error
    from stable_baselines3.common.vec_env import VecEnv
    from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices, VecEnvStepReturn


_THREADS = 2  # the games take little time beside the network


def _make(game: str, difficulty: str, levels: Levels, *, envs: int, seed: int, threads: int) -> Any:
    return ProcgenGym3Env(
        num=envs,
        env_name=game,
        distribution_mode=difficulty,
        start_level=levels.start,
        num_levels=levels.count,
        rand_seed=seed % 2**31,
        num_threads=threads,
    )


@dataclass(frozen=True)
class EnvStates:
    """The state of every game of a ProcgenVecEnv, with the settings it belongs to and the sha256 of the whole."""

    settings: dict[str, Any]
    states: tuple[bytes, ...]
    sha256: str


class ProcgenVecEnv(VecEnv):
    """Procgen games as a Stable-Baselines3 VecEnv; observations `(envs, 64, 64, 3)` uint8, 15 actions.

    Procgen draws the order of levels from one seed that it takes when made, so `seed()` acts at the next `reset()`.
    A finished game starts anew at once: the observation after `done` is the new episode's first, and
    `terminal_observation` is the last frame that was seen (Procgen does not show the final one).

    Args:
        game: name of the game.
        difficulty: `easy` or `hard`.
        levels: the level seeds it draws from.
        envs: how many games run side by side.
        seed: draws the order of levels.
    """

    def __init__(self, game: str, difficulty: str, levels: Levels, envs: int, seed: int) -> None:
        self.render_mode = None
        self.settings = {"game": game, "difficulty": difficulty, "envs": envs, **levels.model_dump()}
        self._make = functools.partial(_make, game, difficulty, levels, envs=envs, threads=_THREADS)
        self._env = self._make(seed=seed)
        self._frames = self._observe()[1]
        box = spaces.Box(0, 255, (SIDE, SIDE, 3), np.uint8)
        super().__init__(envs, box, spaces.Discrete(ACTIONS))

    def reset(self) -> NDArray[np.uint8]:
        """Start every game anew and return the first frames, `(envs, 64, 64, 3)`."""
        if self._seeds[0] is not None:
            self._env.close()
            self._env = self._make(seed=self._seeds[0])
        elif not self._observe()[2].all():
            self._env.act(np.full(self.num_envs, -1, np.int32))  # -1 ends every episode
        self._frames = self._observe()[1]
        self.reset_infos = [{} for _ in range(self.num_envs)]
        self._reset_seeds()
        self._reset_options()
        return self._frames

    def step_async(self, actions: NDArray[Any]) -> None:
        """Act: `actions` `(envs,)`, 0 to 14."""
        self._env.act(np.asarray(actions, np.int32))

    def step_wait(self) -> VecEnvStepReturn:
        """Return frames, rewards of the step (an ended episode's last one included), dones and infos."""
        last, (rewards, self._frames, dones) = self._frames, self._observe()
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i in np.flatnonzero(dones):
            infos[i] = {"terminal_observation": last[i], "TimeLimit.truncated": False}
        return self._frames, rewards, dones, infos

    def get_states(self) -> EnvStates:
        """All that the games need to go on exactly from here."""
        states = tuple(self._env.get_state())
        return EnvStates(dict(self.settings), states, _digest(states))

    def set_states(self, saved: EnvStates) -> NDArray[np.uint8]:
        """Go on from `saved` and return its frames, `(envs, 64, 64, 3)`.

        Raises:
            CheckpointError: `saved` is damaged or of other settings (Procgen itself would end the process, or play on).
        """
        differing = [
            f"{k}: expected {v!r}, found {saved.settings.get(k)!r}"
            for k, v in self.settings.items()
            if saved.settings.get(k) != v
        ]
        if differing:
            raise CheckpointError(f"the saved games belong to other settings: {'; '.join(differing)}")
        if len(saved.states) != self.num_envs or _digest(saved.states) != saved.sha256:
            raise CheckpointError(f"the saved games are damaged: expected sha256 {saved.sha256}")
        self._env.set_state(saved.states)
        self._reset_seeds()
        self._frames = self._observe()[1]
        return self._frames

    def _observe(self) -> tuple[NDArray[np.float32], NDArray[np.uint8], NDArray[np.bool_]]:
        rewards, frames, first = self._env.observe()  # copies: ours to keep and write to
        return rewards, frames["rgb"], first

    def close(self) -> None:
        """Free the games."""
        self._env.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """The frames of now, one per env."""
        return list(self._frames)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """The attribute of this object, once per env (the games are not Python objects)."""
        return [getattr(self, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Not possible: a game has no attributes."""
        raise AttributeError(f"procgen games have no attribute {attr_name!r} to set")

    def env_method(self, method_name: str, *args: Any, indices: VecEnvIndices = None, **kwargs: Any) -> list[Any]:
        """Not possible: a game has no methods."""
        raise AttributeError(f"procgen games have no method {method_name!r}")

    def env_is_wrapped(self, wrapper_class: Any, indices: VecEnvIndices = None) -> list[bool]:
        """False for every env: gymnasium's wrappers do not go around a procgen game."""
        return [False] * len(list(self._get_indices(indices)))


def _digest(states: Sequence[bytes]) -> str:
    digest = hashlib.sha256()
    for state in states:
        digest.update(len(state).to_bytes(8, "little") + state)
    return digest.hexdigest()


@functools.cache
def _level_state(game: str, difficulty: str, level: int) -> bytes:
    env = _make(game, difficulty, Levels(start=level, count=1), envs=1, seed=0, threads=0)
    state: bytes = env.get_state()[0]
    env.close()
    return state


def level_states(game: str, difficulty: str, levels: Sequence[int]) -> list[bytes]:
    """The state of a fresh game at each level seed; 20 ms a level, once per process."""
    return [_level_state(game, difficulty, level) for level in levels]


class LevelEnv:
    """One game per level seed, each playing exactly its level: same actions, same frames and rewards.

    Args:
        game: name of the game.
        difficulty: `easy` or `hard`.
        levels: level seeds, one per slot.
    """

    def __init__(self, game: str, difficulty: str, levels: Sequence[int]) -> None:
        # No threads: they would not survive the fork of a worker process.
        self._make = functools.partial(_make, game, difficulty, Levels(start=0, count=1), seed=0, threads=0)
        self._put(level_states(game, difficulty, levels))

    def _put(self, states: Sequence[bytes]) -> None:
        self._env = self._make(envs=len(states))
        self._env.set_state(states)

    def __len__(self) -> int:
        """How many slots there are."""
        return int(self._env.num)

    def frames(self) -> NDArray[np.uint8]:
        """What is seen now, `(n, 64, 64, 3)`; at first the start of every level."""
        frames: NDArray[np.uint8] = self._env.observe()[1]["rgb"]
        return frames

    def keep(self, slots: NDArray[np.int64]) -> None:
        """Go on with these slots only, in this order, each exactly as it is: every slot costs time in every step."""
        states = self._env.get_state()
        self._env.close()
        self._put([states[slot] for slot in slots])

    def step(self, actions: NDArray[Any]) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
        """Act in every slot.

        Args:
            actions: `(n,)`, 0 to 14; those of finished slots change nothing elsewhere.

        Returns:
            Frames `(n, 64, 64, 3)`, rewards `(n,)` of this step, and whether each slot's episode ended with it.
            A slot that ended plays on from its level's start: ignore it.
        """
        self._env.act(np.asarray(actions, np.int32))
        rewards, frames, done = self._env.observe()
        return frames["rgb"], rewards, done
