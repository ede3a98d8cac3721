"""The Evaluator: genomes to evaluations, fast and in order; a child that fails is a result like any other."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from evoens.errors import ProblemError
from evoens.genome import Genome
from evoens.parent import Parent, Predictor
from evoens.plan import Loop, Plan, quickest, scratch
from evoens.problem import Evaluation, Problem, Split, finite
from evoens.strategy import Strategy, grow

__all__ = ["Evaluator", "Outcome", "Plan"]

PROBED = 64  # inputs on which plans are measured


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
        self._exact: Loop | None = None

    def evaluate(
        self, genomes: Sequence[Genome], split: Split, on_result: Callable[[int, Outcome], None] | None = None
    ) -> list[Outcome]:
        """Return each genome's outcome on `split`, in order, in the plan's precision.

        on_result: called with each outcome and its place in `genomes` as soon as it is known.

        An exception or a number that is not finite, of a child or of its cases, fails that child and no other.
        """
        outcomes: list[Outcome] = []
        for start in range(0, len(genomes), self.plan.children):
            for outcome in self._together(genomes[start : start + self.plan.children], split):
                outcomes.append(outcome)
                if on_result is not None:
                    on_result(len(outcomes) - 1, outcome)
        return outcomes

    def predictor(self, genome: Genome) -> Predictor:
        """Return a child of its own module as a predictor, float32: what is reported. `Genome()` is the parent."""
        child = self._loop()
        child.load(0, grow(self.parent, self.strategy, genome))
        return lambda inputs: child.predict({0: inputs})[0]

    def outputs(self, genomes: Sequence[Genome], inputs: Tensor, batch: int = 256) -> Tensor:
        """Return each child's probabilities on `inputs` `(n, *input)`, float32, `(k, n, c)`, `batch` inputs a pass."""
        child = self._exact = self._exact or self._loop()
        rows = []
        for genome in genomes:
            child.load(0, grow(self.parent, self.strategy, genome))
            rows.append(torch.cat([child.predict({0: part})[0] for part in torch.split(inputs, batch)]))
        return torch.stack(rows)

    def _loop(self) -> Loop:
        return Loop(self.parent, replace(self.plan, batching="loop", precision="float32", children=1), self.device)

    def _together(self, genomes: Sequence[Genome], split: Split) -> list[Outcome]:
        trials = [_Trial(genome, self.problem.cases(split)) for genome in genomes]
        for place, trial in enumerate(trials):
            trial.start(partial(self._load, place, trial.genome))
        while waiting := {place: trial.inputs for place, trial in enumerate(trials) if trial.inputs is not None}:
            try:
                answers = self._scratch.predict(waiting)
            except Exception as error:
                for place in waiting:
                    trials[place].fail(error)
            else:
                for place, outputs in answers.items():
                    trials[place].answer(outputs)
        return [trial.outcome for trial in trials]

    def _load(self, place: int, genome: Genome) -> None:
        self._scratch.load(place, grow(self.parent, self.strategy, genome))


class _Trial:
    """One child on its way through a split: `inputs` wait for its answer, until there are none and `outcome` holds."""

    def __init__(self, genome: Genome, cases: Generator[Tensor, Tensor, Evaluation]) -> None:
        self.genome = genome
        self.inputs: Tensor | None = None
        self.outcome = Outcome(genome, None, "not started")
        self._cases = cases

    def start(self, load: Callable[[], None]) -> None:
        """Rebuild the child and take the first inputs."""
        try:
            load()
        except Exception as error:
            self.fail(error)
        else:
            self._advance(partial(next, self._cases))

    def answer(self, outputs: Tensor) -> None:
        """Hand in the child's probabilities for `inputs` and take the next inputs."""
        if bool(torch.isfinite(outputs).all()):
            self._advance(partial(self._cases.send, outputs))
        else:
            self.fail(ProblemError("the child's outputs are not finite"))

    def fail(self, error: Exception) -> None:
        """End with this error."""
        self.inputs = None
        self.outcome = Outcome(self.genome, None, f"{type(error).__name__}: {error}")

    def _advance(self, step: Callable[[], Tensor]) -> None:
        try:
            self.inputs = step()
        except StopIteration as stop:
            self._end(stop.value)
        except Exception as error:
            self.fail(error)

    def _end(self, evaluation: Evaluation) -> None:
        if finite(evaluation):
            self.inputs, self.outcome = None, Outcome(self.genome, evaluation, None)
        else:
            self.fail(ProblemError("the results of its cases are not finite numbers"))
