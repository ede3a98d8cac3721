"""Stable-Baselines3's PPO on Procgen as its documentation would have one write it, to compare the trainer with."""

from __future__ import annotations

from typing import Any, cast

import torch
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import VecFrameStack, VecMonitor, VecNormalize
from torch import Tensor, nn

from evoens.settings.procgen import PPOSettings, ProcgenSettings
from evoens.tasks.procgen_env import ProcgenVecEnv
from evoens.tasks.sb3 import hyperparameters


class PlainResidual(nn.Module):
    """relu → conv → relu → conv, added to the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(n, c, h, w)` → the same shape."""
        return x + cast(Tensor, self.body(x))


class PlainExtractor(BaseFeaturesExtractor):
    """IMPALA in PyTorch's own layout and float32: `(n, c, 64, 64)` in [0, 1] → `(n, 256)`."""

    def __init__(self, space: spaces.Box, widths: tuple[int, ...]) -> None:
        super().__init__(space, 256)
        layers: list[nn.Module] = []
        channels = space.shape[0]
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.MaxPool2d(3, 2, 1)]
            layers += [PlainResidual(width), PlainResidual(width)]
            channels = width
        self.body = nn.Sequential(*layers, nn.ReLU(), nn.Flatten(), nn.Linear(channels * 64, 256), nn.ReLU())

    def forward(self, frames: Tensor) -> Tensor:
        """See the class."""
        return cast(Tensor, self.body(frames))


def plain_ppo(settings: PPOSettings, problem: ProcgenSettings) -> Any:
    """Return a PPO model of the same settings, games and network."""
    torch.manual_seed(0)
    games: Any = ProcgenVecEnv(problem.game, problem.difficulty, problem.levels.train, settings.envs, 0)
    games = VecNormalize(VecMonitor(games), norm_obs=False, gamma=settings.gamma)
    return PPO(
        "CnnPolicy",
        VecFrameStack(games, problem.frame_stack),
        **hyperparameters(settings),
        device="cpu",
        policy_kwargs={
            "net_arch": [],
            "features_extractor_class": PlainExtractor,
            "features_extractor_kwargs": {"widths": settings.network},
        },
    )
