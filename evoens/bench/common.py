"""What measurements have in common: the strategy, the clock, and what they say of the machine."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from evoens.evaluation.evaluator import Evaluator
from evoens.plugins.spec import load_class, locate
from evoens.settings.evaluation import EvaluationSettings
from evoens.strategy import Strategy
from evoens.tasks.precision import precision_of


def noisy() -> Strategy:
    """Return the strategy that ships, by its name: the engine knows none."""
    strategy: Strategy = load_class(locate("noisy"), Strategy)(sigma=0.02)
    return strategy


def quickest_settings() -> EvaluationSettings:
    """Return the precision that this processor or card is quickest in."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return EvaluationSettings.model_validate({"precision": precision_of("auto", device)})


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
