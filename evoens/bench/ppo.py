"""PPO on two cores: evoens's trainer against Stable-Baselines3 as it comes, in separate processes of one run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from evoens.machine.environment import environment
from evoens.machine.threads import WAIT_POLICY
from evoens.settings.procgen import PPOSettings, ProcgenSettings

SETTINGS = PPOSettings(rollout=32, minibatches=1, epochs=3, target_kl=None)  # minibatches of 2048, as in the defaults
PROBLEM = ProcgenSettings(game="bigfish")
ROLLOUTS = 2  # measured, after one that warms up


def measure() -> dict[str, Any]:
    """Return steps per second of both, their ratio, and what they ran on; takes a few minutes on two cores.

    The plain side keeps the allocator, float32 and the memory layout as PyTorch and Stable-Baselines3 have them.
    """
    ours, plain = _in_process("ours"), _in_process("plain")
    return {
        "steps_per_second": ours["steps_per_second"],
        "plain_steps_per_second": plain["steps_per_second"],
        "speedup_vs_plain": ours["steps_per_second"] / plain["steps_per_second"],
        "precision": ours["precision"],
        "environment": environment(),
    }


def describe(result: dict[str, Any]) -> str:
    """Return the figures as a sentence."""
    return (
        f"PPO, IMPALA {list(SETTINGS.network)}, {SETTINGS.envs} games, {SETTINGS.epochs} epochs: "
        f"{result['steps_per_second']:.0f} steps/s ({result['precision']}) against "
        f"{result['plain_steps_per_second']:.0f} for Stable-Baselines3 as it comes (float32): "
        f"{result['speedup_vs_plain']:.2f} ×, on {result['environment']['processor']}"
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
    return {"steps_per_second": speed, "precision": precision}


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
