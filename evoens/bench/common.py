"""What measurements have in common: the strategy, the clock, and what they say of the machine."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from evoens.evaluate import Evaluator
from evoens.spec import load_class, locate
from evoens.strategy import Strategy


def noisy() -> Strategy:
    """Return the strategy that ships, by its name: the engine knows none."""
    strategy: Strategy = load_class(locate("noisy"), Strategy)(sigma=0.02)
    return strategy


def seconds(run: Callable[[], object]) -> float:
    """Return how long `run` takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def machine(evaluator: Evaluator) -> dict[str, Any]:
    """Return where children are evaluated, and how."""
    device, plan = evaluator.device, evaluator.plan
    return {
        "plan": plan.to_json(),
        "dtype": plan.precision,
        "threads": torch.get_num_threads(),
        "cpu": _cpu(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch": torch.__version__,
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
