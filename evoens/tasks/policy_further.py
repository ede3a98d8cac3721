"""A policy trained on by PPO: what it becomes, and the mean of the weights that it has towards the end."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from evoens.parent import Parent
from evoens.progress import OnProgress
from evoens.settings.procgen import PPOSettings, ProcgenSettings
from evoens.tasks.policy_training import PolicyTraining
from evoens.tasks.ppo import train_in, training_identity
from evoens.tasks.procgen_env import EnvStates

MEAN = "mean/"  # before the names of averaged weights in a checkpoint


def train_further(
    parent: Parent,
    settings: PPOSettings,
    problem: ProcgenSettings,
    seed: int,
    folder: Path,
    *,
    warmup: int,
    on_progress: OnProgress | None = None,
) -> tuple[Parent, Parent]:
    """Train `parent` on by PPO in `folder`, or go on there; return what it becomes, and the mean of its last weights.

    Args:
        parent: an `ImpalaPolicy`, which stays as it is.
        settings: PPO's settings; `steps` is the whole budget in environment steps.
        problem: the game; it learns on `problem.levels.train`.
        seed: of actions, minibatches and order of levels.
        folder: as for `train_parent`.
        warmup: the first rollouts, in which the policy does not move; see `PolicyTraining`.
        on_progress: called after every rollout.

    Raises:
        CheckpointError: as `train_parent`.
    """
    identity = {**training_identity(settings, problem, seed), "warmup": warmup, "parent": parent.fingerprint}
    training = train_in(
        lambda precision: Averaged(settings, problem, seed, precision, weights=parent.weights, warmup=warmup),
        identity,
        settings.steps,
        folder,
        on_progress=on_progress,
    )
    last = training.policy_weights()
    return _with(parent, last), _with(parent, training.mean or last)


def _with(parent: Parent, weights: Mapping[str, Tensor]) -> Parent:
    return Parent.from_weights(parent.architecture, {**parent.weights, **weights})


class Averaged(PolicyTraining):
    """See `PolicyTraining`; it keeps the mean of the weights after each update of the last quarter of its steps.

    Stochastic weight averaging begins there, too (Izmailov et al. 2018, section 3.2).
    """

    mean: Mapping[str, Tensor] = MappingProxyType({})
    averaged = 0

    def rollout_and_update(self) -> dict[str, Any]:
        """See `PolicyTraining.rollout_and_update`."""
        record = super().rollout_and_update()
        if 4 * self.steps > 3 * self.settings.steps:
            self.averaged += 1
            weights = {name: weight.detach() for name, weight in self.policy_weights().items()}
            self.mean = {n: torch.lerp(self.mean.get(n, w), w, 1 / self.averaged) for n, w in weights.items()}
        return record

    def _state(self, games: EnvStates) -> dict[str, Any]:
        return {**super()._state(games), "averaged": self.averaged}

    def _tensors(self, games: EnvStates) -> dict[str, Tensor]:
        return {**super()._tensors(games), **{f"{MEAN}{name}": weight for name, weight in self.mean.items()}}

    def restore(self, state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """See `Training.restore`; one of before there was a mean begins it here."""
        super().restore(state, tensors)
        self.mean = {name.removeprefix(MEAN): v for name, v in tensors.items() if name.startswith(MEAN)}
        self.averaged = state.get("averaged", 0)
