"""Runs children of one kind: several in a pass or mapped over, several passes side by side."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from evoens.evaluation.memory import budget, nbytes
from evoens.evaluation.plan import Branches, Plan, Stack, make_runner
from evoens.evaluation.planning import COPIES
from evoens.evaluation.trials import EvaluationTask, run
from evoens.evaluation.trunk import Trunk, shared_trunk
from evoens.evaluation.trunk_cache import TrunkCache
from evoens.graph.cut import Cut
from evoens.graph.feature_cache import Kept
from evoens.network.inputs import Inputs
from evoens.parent import Parent
from evoens.problem import Evaluation, FixedInputs, Problem, Split
from evoens.settings.evaluation import EvaluationSettings

GROUP = 64  # children that go through the blocks of a split together: each group has the trunk computed anew
TOGETHER = 16  # children whose games share a batch, at most


class Brood(Protocol):
    """Makes children, by their numbers, and is told when the measuring of each begins, and when it ends or pauses."""

    def child_weights(self, child: int) -> Mapping[str, Tensor]:
        """Return the child's tensors."""

    def begin(self, child: int) -> None:
        """It is about to be measured."""

    def end(self, child: int) -> None:
        """It is not any more."""


Results = Iterator[tuple[int, Evaluation | Exception]]
"""The numbers of children, and what became of each, as they end."""


class BatchRunner:
    """Runs children that touch the same tensors, and computes what comes before these for all of them together.

    Where inputs are the same for all, once for the split; else once for all the inputs that wait, in one batch.

    Args:
        problem: what children are measured on.
        parent: whose they are.
        touched: the tensors.
        plan: how many are run at a time, and how.
        device: where.
        settings: how long a child may take, and the memory for all of them.
        kept: what ensembles share with children of these tensors.
    """

    def __init__(
        self,
        problem: Problem,
        parent: Parent,
        touched: tuple[str, ...],
        plan: Plan,
        device: torch.device,
        *,
        settings: EvaluationSettings,
        kept: Kept,
    ) -> None:
        self.touched, self._problem, self._plan, self._settings = touched, problem, plan, settings
        self._device = device
        self._shared: TrunkCache | None = None
        self._lanes: Sequence[Branches | Stack] = ()
        parts = shared_trunk(problem, parent, touched)
        if parts and isinstance(problem, FixedInputs):
            left = budget(settings.memory) - kept.room - plan.children * nbytes(parts.tail)
            self._shared = TrunkCache(problem, Trunk(parts.trunk, plan, device), left, kept)
            self._lanes = make_runner(parts.tail, touched, plan, device).lanes
        elif parts and plan.batching == "loop":
            self._lanes = self._branches(parts)
        self._lanes = self._lanes or make_runner(parent.module, touched, plan, device).lanes

    def _branches(self, parts: Cut) -> list[Branches]:
        """Return room for children on inputs of their own; none where these must not share a batch."""
        trunk, plan = Trunk(parts.trunk, self._plan, self._device), self._plan
        inputs = self._problem.probe()
        if not isinstance(inputs, Tensor) or not trunk.alike(inputs):
            return []
        places = int(COPIES * budget(self._settings.memory) / max(1, nbytes(parts.tail)) / plan.children)
        places = max(1, min(TOGETHER, places))
        return [Branches(parts.tail, plan, self._device, places, trunk) for _ in range(plan.children)]

    def measure(self, children: Sequence[int], brood: Brood, split: Split) -> Results:
        """Yield each child's evaluation on `split`, or the error that ended it."""
        size = GROUP if self._shared else max(1, len(children))
        for start in range(0, len(children), size):
            trials = {
                EvaluationTask(self._cases(split), self._settings.timeout): child
                for child in children[start : start + size]
            }
            for error in self._blocks(split):
                going = {trial: child for trial, child in trials.items() if not trial.ended}
                if error is not None:
                    yield from ((child, error) for child in going.values())
                else:
                    yield from self._run(going, brood)

    def _blocks(self, split: Split) -> Iterator[Exception | None]:
        """Have what children share here, block by block; an error in it is theirs."""
        try:
            yield from self._shared.blocks(split) if self._shared else (None,)
        except Exception as error:
            yield error

    def _cases(self, split: Split) -> Generator[Inputs | None, Tensor, Evaluation]:
        return (yield from self._shared.cases(split) if self._shared else self._problem.cases(split))

    def _run(self, trials: Mapping[EvaluationTask, int], brood: Brood) -> Results:
        """Run each to its end or its next pause."""

        def begun() -> Iterator[EvaluationTask]:
            for trial, child in trials.items():
                brood.begin(child)
                yield trial

        def prepare(trial: EvaluationTask, lane: Branches | Stack, place: int) -> None:
            weights = brood.child_weights(trials[trial])
            lane.load(place, {name: weights[name] for name in self.touched})

        for trial in run(self._lanes, begun(), prepare):
            brood.end(trials[trial])
            if trial.ended:
                yield trials[trial], trial.result
