"""Runs children of one kind: side by side or mapped over, the whole network or only its tail."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

from evoens.evaluation.memory import budget, nbytes
from evoens.evaluation.plan import Loop, Plan, Stack, make_runner
from evoens.evaluation.trials import Answer, EvaluationTask, run
from evoens.evaluation.trunk_cache import TrunkCache, shared_trunk
from evoens.network.inputs import Inputs
from evoens.parent import Parent
from evoens.plugins.guest import failure
from evoens.problem import Evaluation, FixedInputs, Problem, Split
from evoens.settings.evaluation import EvaluationSettings

GROUP = 64  # children that go through the blocks of a split together: each group has the trunk computed anew


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
    """Runs children that touch the same tensors: what comes before these only once, where inputs are the same for all.

    Args:
        problem: what children are measured on.
        parent: whose they are.
        touched: the tensors.
        plan: how many are run at a time, and how.
        device: where.
        settings: how long a child may take, and the memory for all of them.
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
    ) -> None:
        self.touched, self._problem, self._plan, self._settings = touched, problem, plan, settings
        parts = shared_trunk(problem, parent, touched)
        self._runner = make_runner(parts.tail if parts else parent.module, touched, plan, device)
        self._shared: TrunkCache | None = None
        if parts and isinstance(problem, FixedInputs):
            left = budget(settings.memory) - plan.children * nbytes(parts.tail)
            self._shared = TrunkCache(problem, parts.trunk, plan, device, left)

    def measure(self, children: Sequence[int], brood: Brood, split: Split) -> Results:
        """Yield each child's evaluation on `split`, or the error that ended it."""
        size = GROUP if self._shared else max(1, len(children))
        for start in range(0, len(children), size):
            trials = {
                child: EvaluationTask(self._cases(split), self._settings.timeout)
                for child in children[start : start + size]
            }
            for error in self._blocks(split):
                going = {child: trial for child, trial in trials.items() if not trial.ended}
                if error is not None:
                    yield from ((child, error) for child in going)
                elif isinstance(self._runner, Loop):
                    yield from self._side_by_side(self._runner, going, brood)
                else:
                    yield from self._in_step(self._runner, going, brood)

    def _blocks(self, split: Split) -> Iterator[Exception | None]:
        """Have what children share here, block by block; an error in it is theirs."""
        try:
            yield from self._shared.blocks(split) if self._shared else (None,)
        except Exception as error:
            yield error

    def _cases(self, split: Split) -> Generator[Inputs | None, Tensor, Evaluation]:
        return (yield from self._shared.cases(split) if self._shared else self._problem.cases(split))

    def _load(self, place: int, child: int, brood: Brood) -> None:
        weights = brood.child_weights(child)
        self._runner.load(place, {name: weights[name] for name in self.touched})

    def _side_by_side(self, loop: Loop, trials: Mapping[int, EvaluationTask], brood: Brood) -> Results:
        """Run each child for itself; a place is taken again as soon as its child is done."""
        free, taken = list(range(self._plan.children)), {}

        def started() -> Iterator[tuple[EvaluationTask, Answer]]:
            """Start each when there is a place for it."""
            for child, trial in trials.items():
                place = free.pop()
                taken[trial] = child, place
                brood.begin(child)
                trial.start(partial(self._load, place, child, brood))
                yield trial, partial(loop.answer, place)

        for trial in run(started(), self._plan.children):
            child, place = taken.pop(trial)
            free.append(place)
            brood.end(child)
            if trial.ended:
                yield child, trial.result

    def _in_step(self, stack: Stack, trials: Mapping[int, EvaluationTask], brood: Brood) -> Results:
        """Run a few children after another, the network mapped over them."""
        children = list(trials)
        for start in range(0, len(children), self._plan.children):
            some = children[start : start + self._plan.children]
            group = [trials[child] for child in some]
            for place, trial in enumerate(group):
                brood.begin(some[place])
                trial.start(partial(self._load, place, some[place], brood))
            while waiting := {place: trial.inputs for place, trial in enumerate(group) if trial.inputs is not None}:
                began = time.monotonic()
                try:
                    answers = stack.predict(waiting)
                except BaseException as error:
                    own = error if isinstance(error, Exception) else failure(error, "the network")
                    for place in waiting:
                        group[place].fail(own)
                else:
                    share = (time.monotonic() - began) / len(waiting)
                    for place, outputs in answers.items():
                        group[place].spent += share
                        group[place].answer(outputs)
            for child in some:
                brood.end(child)
            yield from ((child, trials[child].result) for child in some if trials[child].ended)
