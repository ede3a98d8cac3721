"""What measurements have in common: the strategy, the clock, and what they say of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from evoens.evaluation.evaluator import Evaluator
from evoens.machine.allocator import keep_memory
from evoens.machine.environment import environment
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


def thread_seconds(run: Callable[[], object]) -> float:
    """Return this thread's own processor time for `run`: other work on the machine counts as little as it can."""
    start = time.thread_time()
    run()
    return time.thread_time() - start


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch have one thread meanwhile, and keep the memory it has taken."""
    keep_memory()
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def machine(evaluator: Evaluator) -> dict[str, Any]:
    """Return where children are evaluated, and how."""
    device, plan = evaluator.device, evaluator.plan
    return {
        "plan": plan.to_json(),
        "dtype": plan.precision,
        "threads": torch.get_num_threads(),
        "cpu": environment()["processor"],
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch": torch.__version__,
    }
