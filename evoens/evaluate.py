"""The Evaluator: genomes to evaluations, fast and in order; a child that fails is a result like any other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor

from evoens.ensemble import Ensemble
from evoens.genome import Genome
from evoens.parent import Parent, Predictor
from evoens.plan import Loop, Plan, quickest, scratch
from evoens.problem import Evaluation, Problem, Split
from evoens.strategy import Strategy, grow
from evoens.trials import Trial, run

__all__ = ["Evaluator", "Outcome", "Plan"]

PROBED = 64  # inputs on which plans are measured
GROUP = 8  # children whose outputs are taken together: they share what they have in common


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one child: its evaluation, or the error that ended it."""

    genome: Genome
    evaluation: Evaluation | None
    error: str | None

    @property
    def status(self) -> str:
        """`"ok"` or `"failed"`."""
        return "ok" if self.error is None else "failed"


class Evaluator:
    """Rebuilds children and measures them on a problem, the same bits in any order and however they are grouped.

    Memory is one parent, the plan's children at a time, and the evaluations, whatever the population.

    Args:
        parent: the network children are rebuilt from.
        strategy: rebuilds them.
        problem: what they are measured on.
        plan: how they are run; None measures and takes the quickest (some seconds).
        device: where they are run; None is a CUDA device where there is one, else the CPU.
    """

    def __init__(
        self,
        parent: Parent,
        strategy: Strategy,
        problem: Problem,
        plan: Plan | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.parent, self.strategy, self.problem = parent, strategy, problem
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.plan = plan or quickest(parent, problem.probe(PROBED), self.device)
        self._scratch = scratch(parent, self.plan, self.device)

    def evaluate(
        self, genomes: Sequence[Genome], split: Split, on_result: Callable[[int, Outcome], None] | None = None
    ) -> list[Outcome]:
        """Return each genome's outcome on `split`, in order, in the plan's precision.

        on_result: called with each outcome and its place in `genomes` as soon as it is known.

        An exception or a number that is not finite, of a child or of its cases, fails that child and no other.
        """
        outcomes: dict[int, Outcome] = {}
        told = 0
        together = self._loop if self.plan.batching == "loop" else self._in_step
        for place, result in together(genomes, split):
            error = f"{type(result).__name__}: {result}" if isinstance(result, Exception) else None
            evaluation = None if isinstance(result, Exception) else result
            outcomes[place] = Outcome(genomes[place], evaluation, error)
            while told in outcomes:
                if on_result is not None:
                    on_result(told, outcomes[told])
                told += 1
        return [outcomes[place] for place in range(len(genomes))]

    def outputs(self, genomes: Sequence[Genome], inputs: Tensor, batch: int = 64) -> Tensor:
        """Return each child's probabilities on `inputs` `(n, *input)`, float32, `(k, n, c)`, `batch` inputs a pass."""
        rows = []
        for start in range(0, len(genomes), GROUP):
            children = Ensemble(self.parent, self.strategy, genomes[start : start + GROUP], self.device)
            rows.append(torch.cat([children.outputs(part) for part in torch.split(inputs, batch)], dim=1))
        return torch.cat(rows)

    def _loop(self, genomes: Sequence[Genome], split: Split) -> Iterator[tuple[int, Evaluation | Exception]]:
        """Run children side by side; a room is taken again as soon as its child is done."""
        rooms, taken = list(range(self.plan.children)), {}
        scratch = cast(Loop, self._scratch)

        def trials() -> Iterator[tuple[Trial, Predictor]]:
            """Start each when there is room for it."""
            for place, genome in enumerate(genomes):
                trial, room = Trial(self.problem.cases(split)), rooms.pop()
                taken[trial] = place, room
                trial.start(partial(self._load, room, genome))
                yield trial, partial(scratch.answer, room)

        for trial in run(trials(), self.plan.children):
            place, room = taken.pop(trial)
            rooms.append(room)
            yield place, trial.result

    def _in_step(self, genomes: Sequence[Genome], split: Split) -> Iterator[tuple[int, Evaluation | Exception]]:
        """Run a group of children after another, the network mapped over each group."""
        for start in range(0, len(genomes), self.plan.children):
            group = genomes[start : start + self.plan.children]
            trials = [Trial(self.problem.cases(split)) for _ in group]
            for room, (trial, genome) in enumerate(zip(trials, group, strict=True)):
                trial.start(partial(self._load, room, genome))
            while waiting := {room: trial.inputs for room, trial in enumerate(trials) if trial.inputs is not None}:
                try:
                    answers = self._scratch.predict(waiting)
                except Exception as error:
                    for room in waiting:
                        trials[room].fail(error)
                else:
                    for room, outputs in answers.items():
                        trials[room].answer(outputs)
            yield from ((start + room, trial.result) for room, trial in enumerate(trials))

    def _load(self, room: int, genome: Genome) -> None:
        self._scratch.load(room, grow(self.parent, self.strategy, genome))
