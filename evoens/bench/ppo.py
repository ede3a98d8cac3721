"""PPO on two cores: evoens's trainer against Stable-Baselines3 as it comes, in separate processes of one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from evoens.bench.common import seconds
from evoens.machine.environment import environment
from evoens.machine.threads import WAIT_POLICY
from evoens.settings.procgen import PPOSettings, ProcgenSettings

SETTINGS = PPOSettings(rollout=32, minibatches=1, epochs=3, target_kl=None)  # minibatches of 2048, as in the defaults
PROBLEM = ProcgenSettings(game="bigfish")
ROLLOUTS = 2  # measured, after one that warms up
TURNS = 3  # of both sides
PASSES = 20  # of a rollout's batch, of which the quickest counts


def measure() -> dict[str, Any]:
    """Return steps per second of both, their ratio, and what they ran on; takes some minutes on two cores.

    The sides take turns, and the middle turn counts. The plain side keeps the allocator, float32 and the memory layout
    as PyTorch and Stable-Baselines3 have them. The network's bound is what its passes alone allow: forward at the
    rollout's batch, forward and backward at the minibatch's for each epoch; no game, no buffer, no optimiser.
    """
    turns = [(_in_process("ours"), _in_process("plain")) for _ in range(TURNS)]
    ratios = sorted(ours["steps_per_second"] / plain["steps_per_second"] for ours, plain in turns)
    fractions = sorted(ours["steps_per_second"] / ours["network_bound"] for ours, _ in turns)
    return {
        "steps_per_second": median(ours["steps_per_second"] for ours, _ in turns),
        "plain_steps_per_second": median(plain["steps_per_second"] for _, plain in turns),
        "speedup_vs_plain": median(ratios),
        "speedup_spread": [ratios[0], ratios[-1]],
        "fraction_of_network_bound": median(fractions),
        "fraction_spread": [fractions[0], fractions[-1]],
        "precision": turns[0][0]["precision"],
        "environment": environment(),
    }


def describe(result: dict[str, Any]) -> str:
    """Return the figures as a sentence."""
    least, most = result["speedup_spread"]
    low, high = result["fraction_spread"]
    return (
        f"PPO, IMPALA {list(SETTINGS.network)}, {SETTINGS.envs} games, {SETTINGS.epochs} epochs: "
        f"{result['steps_per_second']:.0f} steps/s ({result['precision']}) against "
        f"{result['plain_steps_per_second']:.0f} for Stable-Baselines3 as it comes (float32): "
        f"{result['speedup_vs_plain']:.2f} × ({least:.2f} to {most:.2f} in {TURNS} turns), "
        f"{result['fraction_of_network_bound']:.0%} of what the network alone allows ({low:.0%} to {high:.0%}), "
        f"on {result['environment']['processor']}"
    )


def _in_process(side: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "evoens.bench.ppo", side]
    kept = {k: v for k, v in os.environ.items() if side == "ours" or k != WAIT_POLICY}
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=kept)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _ours() -> dict[str, Any]:
    from evoens.machine.allocator import keep_memory  # noqa: PLC0415
    from evoens.tasks.precision import precision_of  # noqa: PLC0415
    from evoens.tasks.sb3 import Training  # noqa: PLC0415

    keep_memory()
    precision = precision_of("auto")
    training = Training(SETTINGS, PROBLEM, 0, precision)
    speed = _steps_per_second(training.rollout_and_update)
    bound = network_bound(training.model.policy, SETTINGS)
    return {"steps_per_second": speed, "network_bound": bound, "precision": precision}


def network_bound(policy: Any, settings: PPOSettings) -> float:
    """Return the steps per second that a policy's passes alone allow, on random frames."""
    frames = torch.randint(0, 256, (settings.envs * settings.rollout // settings.minibatches, 64, 64, 6)).float()

    def forward(some: Tensor) -> Tensor:
        features = policy.features_extractor(some.clone())  # it scales frames in place
        logits, values = policy.action_net(features), policy.value_net(features)
        return (logits.sum() + values.sum()) / len(some)  # type: ignore[no-any-return]

    with torch.no_grad():
        acting = min(seconds(lambda: forward(frames[: settings.envs])) for _ in range(PASSES)) / settings.envs
    learning = min(seconds(lambda: torch.autograd.backward(forward(frames))) for _ in range(ROLLOUTS)) / len(frames)
    return 1 / (acting + settings.epochs * learning)


def _plain() -> dict[str, Any]:
    from evoens.bench.plain import plain_ppo  # noqa: PLC0415

    model = plain_ppo(SETTINGS, PROBLEM)
    return {"steps_per_second": _steps_per_second(lambda: model.learn(1, reset_num_timesteps=False))}


def _steps_per_second(turn: Callable[[], Any]) -> float:
    turn()
    start = time.perf_counter()
    for _ in range(ROLLOUTS):
        turn()
    return ROLLOUTS * SETTINGS.rollout * SETTINGS.envs / (time.perf_counter() - start)


if __name__ == "__main__":
    print(json.dumps({"ours": _ours, "plain": _plain}[sys.argv[1]]()))
