"""A Ray worker: a process that opens the run's problem anew, and measures children there as the run's own would."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from evoens.children import TunedWeights
from evoens.evaluation.backend import Job
from evoens.evaluation.evaluator import Evaluator
from evoens.evaluation.plan import Plan
from evoens.machine.allocator import keep_memory
from evoens.machine.environment import machine, versions
from evoens.parent import Parent
from evoens.plugins.guest import listening
from evoens.plugins.spec import Located, load_class
from evoens.problem import Problem
from evoens.settings.evaluation import EvaluationSettings
from evoens.strategy import Strategy
from evoens.tasks.task_spec import TaskSpec


@dataclass(frozen=True)
class Opening:
    """All that a worker must know to measure children as the run's own process does; it travels once.

    Attributes:
        problem: how it is opened there; or itself with its parent, where nothing but memory has it.
        source: of the Strategy's class, with its code where that is a user's own.
        arguments: what the Strategy is made with.
        scope: of its genes.
        plan: how children are run, as the run's own process has found.
        settings: precision, memory and how long a child may take.
        device: where they are run.
        tuned: where trained children are.
        threads: of torch; on a CPU they decide bits.
        folder: the working folder of the run's own process.
    """

    problem: TaskSpec | Problem
    source: Located
    arguments: dict[str, Any]
    scope: tuple[str, ...]
    plan: dict[str, Any]
    settings: EvaluationSettings
    device: str
    tuned: TunedWeights | None
    threads: int
    folder: Path


class Worker:
    """Measures some children at a time; everything that decides bits is as in the run's own process."""

    def open(self, opening: Opening) -> dict[str, Any]:
        """Open the problem and return what decides bits here; see `ground`."""
        keep_memory()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray would raise SystemExit, as if the child had done it
        signal.signal(signal.SIGINT, signal.default_int_handler)  # which a run in the background ignores
        if opening.folder.is_dir():
            os.chdir(opening.folder)  # where paths may start, too
        torch.set_num_threads(opening.threads)
        problem = opening.problem.open() if isinstance(opening.problem, TaskSpec) else opening.problem
        cls: type[Strategy] = load_class(opening.source, Strategy)
        strategy = cls(**opening.arguments).within(scope=opening.scope, parent=problem.parent)
        self._evaluator = Evaluator(
            problem.parent,
            strategy,
            problem,
            Plan.from_json(opening.plan),
            opening.device,
            settings=opening.settings,
            tuned=opening.tuned,
        )
        return ground(problem.parent)

    def measure(self, jobs: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], bytes]]:
        """Return the outcomes of some jobs, in their order; all as they travel."""
        with listening():
            found = dict(self._evaluator.map([Job.from_json(job) for job in jobs]))
        return [found[place].packed() for place in range(len(jobs))]


def ground(parent: Parent) -> dict[str, Any]:
    """Return what must be the same in two processes for a child to have the same bits in both."""
    return {
        "parent (fingerprint)": parent.fingerprint,
        "threads": torch.get_num_threads(),
        "machine": machine(),
        "versions": versions(),
    }
