"""The Problem: what a predictor is measured on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoens.children import TunedWeights
from evoens.genome import Genome
from evoens.network.inputs import Inputs
from evoens.parent import Parent, Predictor
from evoens.progress import OnCount
from evoens.scoring.metrics import Statistic, mean_of
from evoens.strategy import Strategy

if TYPE_CHECKING:
    from evoens.tasks.data.preprocessing import Preprocessing

SplitName = Literal["search", "select", "test"]
Score = Callable[[Tensor], float]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Split:
    """Cases `first` to `first + count − 1` of one of the three disjoint splits, or of what the parent has learnt."""

    name: SplitName | Literal["train"]
    first: int
    count: int

    def part(self, first: int, count: int) -> Split:
        """Return `count` cases of this split from its `first`-th on, as far as it reaches."""
        return Split(self.name, self.first + first, max(0, min(count, self.count - first)))


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What one predictor reached: `cases` holds one result per case, float64 `(n,)`; `score` is their mean.

    `samples` counts the inputs predicted. `beside` holds results by further measures, `(n,)` or `(n, d)` each; `kept`
    what the problem keeps for selection, by name; `members` what an ensemble's members reached each, if measured too.
    """

    cases: Tensor
    samples: int
    extra_metrics: dict[str, Tensor] = field(default_factory=dict)
    artifacts: dict[str, Tensor] = field(default_factory=dict)
    members: tuple[Evaluation, ...] = ()

    @property
    def score(self) -> float:
        """The mean over cases, in the problem's unit."""
        return float(self.cases.mean())


@dataclass(frozen=True, slots=True)
class EnsembleObjective:
    """What outputs `(n, c)` on recorded inputs `(n, *input)` are worth to the problem: higher is better.

    `outputs` are the candidates' own, `(k, n, c)`, where their evaluations have kept them.
    """

    inputs: Tensor
    score: Score
    outputs: Tensor | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of the verdict: a statistic of the cases' results.

    Attributes:
        name: by which the report's file knows it.
        rows: under which name an evaluation has its results beside the score; its own name where empty.
        label: by which people do.
        unit: measures of one unit share a chart.
        higher_is_better: or lower.
        digits: decimals worth showing.
        statistic: the mean, unless it is another one.
    """

    name: str
    label: str
    unit: str
    higher_is_better: bool = True
    digits: int = 2
    rows: str = ""
    statistic: Callable[[Any], Statistic] = mean_of

    @property
    def key(self) -> str:
        """Under which a competitor's block has it, beside the score, which is under `test`."""
        return f"test_{self.name}"


class Problem(ABC):
    """A task with a parent and three disjoint splits: `search` (fitness), `select` (members), `test` (the report).

    Four methods must be written: `split`, `cases`, `probe`, `judgement`. A problem may have pictures besides (see
    `evoens.diversity.pictured.Pictured`) and be `Filmed`.

    Higher scores are better. `measures` are what the verdict shows: the score, then what `reported` has beside it.
    """

    parent: Parent
    measures: tuple[Measure, ...]
    tunes: bool = False
    """Whether children are trained after they are born, by `tune`."""
    epochs: int = 0
    """How long each child is trained on examples."""
    tuned_frames: int = 0
    """How long each child is trained by play."""
    not_comparable_reason: str = ""
    """Why scores on the search and select splits do not compare with those on the test split; empty where they do."""
    preprocessing: Preprocessing | None = None
    """How images reach the network, which an ensemble takes along; None where inputs are taken as they are."""
    block: int | None = None
    """How many test cases are measured before it is asked whether they are enough; None: all, as they cost little."""
    beside_the_score: tuple[str, ...] = ()
    """What evaluations on the search split have in `extra_metrics`: a mean `(1,)` each, as there are many children."""
    more_data_hint: str = "more cases"
    """What tells children apart better, and how the YAML asks for it."""

    def tune(
        self, strategy: Strategy, genomes: Sequence[Genome], tuned: TunedWeights, on_progress: OnCount
    ) -> dict[str, str]:
        """Train the children that are not there yet; return by key the error of each that could not be trained.

        tuned: where their weights are left. on_progress: told how much of how much is done.
        """
        return {}

    @property
    def unit(self) -> str:
        """The unit of scores."""
        return self.measures[0].unit

    def measure_schema(self) -> list[dict[str, Any]]:
        """Return what the report's readers must know of each measure."""
        names = ("label", "unit", "higher_is_better", "digits")
        return [
            {"key": measure.key if place else "test", **{name: getattr(measure, name) for name in names}}
            for place, measure in enumerate(self.measures)
        ]

    @abstractmethod
    def split(self, name: SplitName) -> Split:
        """Return the whole split of this name."""

    @abstractmethod
    def cases(self, split: Split) -> Generator[Inputs, Tensor, Evaluation]:
        """Yield inputs `(n, *input)`, receive their probabilities `(n, c)`, and return the evaluation at the end.

        Inputs are of any dtype; where the network takes several tensors, they are a tuple of them.


        Written as a generator so that one predictor, or several children in step, can answer. The same answers give
        the same evaluation: every draw comes from the case, none from a global state.
        """

    @abstractmethod
    def probe(self, n: int = 8) -> Inputs:
        """Return `n` fixed inputs `(n, *input)` of the search split, on which σ is measured and diversity watched."""

    @abstractmethod
    def judgement(self, evaluations: Sequence[Evaluation]) -> EnsembleObjective:
        """Return recorded inputs and the worth of outputs on them, from evaluations of the select split."""

    def describe(self, name: SplitName) -> dict[str, int]:
        """Return what the report says of a split."""
        split = self.split(name)
        return {"first": split.first, "count": split.count}

    def record(self) -> dict[str, Any]:
        """Return what a run's folder keeps of the data, JSON, so that the splits can be had again; often nothing."""
        return {}

    def reported(self, split: Split) -> Generator[Inputs, Tensor, Evaluation]:
        """Do as `cases`, and give beside the score what else the report shows; nothing more unless a problem has it."""
        return self.cases(split)

    def reported_with_members(self, split: Split) -> Generator[Inputs, Tensor, Evaluation] | None:
        """Do as `reported` for an ensemble and its k members at once; receive `(1 + k, n, c)`, the ensemble's first.

        None where the members would have to see other inputs than the ensemble, and cost as much again.
        """
        return None

    @property
    def ensemble_metric(self) -> str:
        """The unit of what `ensemble_cases` gives."""
        return self.unit

    def ensemble_cases(self, split: Split) -> Generator[Inputs, Tensor, Evaluation]:
        """Do as `cases`, but score by what makes a good ensemble, where that is not the problem's own score."""
        return self.cases(split)

    def details(self, results: Mapping[str, Evaluation]) -> dict[str, Any]:
        """Return what else the report holds of the competitors' results, by their names; JSON, often nothing."""
        return {}

    def verdict_note(self, blocks: Mapping[str, Mapping[str, Any]]) -> str:
        """Return what else an honest verdict says of the report's blocks; nothing unless a problem has something."""
        return ""

    def evaluate(self, predict: Predictor, split: Split) -> Evaluation:
        """Return what `predict` reaches on `split`."""
        return drive(self.cases(split), predict)


@runtime_checkable
class Filmed(Protocol):
    """A problem whose cases can be watched: one is by having this method."""

    def film(self, predict: Predictor, case: Split) -> tuple[list[NDArray[np.uint8]], float]:
        """Return frames `(h, w, 3)` and the result of one case."""


class FixedInputs(Problem):
    """A problem whose inputs are the same for every predictor: what children share is then computed once for all.

    They are judged by `judge`, whether they are given the inputs of `batches` or what a shared part made of these.
    """

    @abstractmethod
    def batches(self, split: Split) -> Iterator[Inputs]:
        """Yield all inputs of `split` in order, `(m, *input)` each."""

    @abstractmethod
    def score_outputs(self, split: Split, outputs: Tensor) -> Evaluation:
        """Return the evaluation of probabilities `(n, c)` on all inputs of `split`."""

    def cases(self, split: Split) -> Generator[Inputs, Tensor, Evaluation]:
        """See `Problem.cases`."""
        return self.score_outputs(split, (yield from self.answers(split)))

    def answers(self, split: Split) -> Generator[Inputs, Tensor, Tensor]:
        """Yield the inputs of `split`, receive their probabilities, and return all of them, `(…, n, c)`."""
        outputs = []
        for inputs in self.batches(split):
            outputs.append((yield inputs))
        return torch.cat(outputs, dim=-2)


def drive(cases: Generator[Inputs, Tensor, Result], predict: Predictor) -> Result:
    """Answer every inputs that `cases` yields by `predict`, and return what it ends with."""
    try:
        inputs = next(cases)
        while True:
            inputs = cases.send(predict(inputs))
    except StopIteration as stop:
        result: Result = stop.value
        return result


def drive_batched(parts: Sequence[Generator[Tensor, Tensor, Result]]) -> Generator[Tensor, Tensor, list[Result]]:
    """Give one predictor the cases of several generators at once; return what each of them ends with.

    Their inputs share a batch, which is quicker than two small ones.
    """
    waiting: dict[int, Tensor] = {}
    ended: dict[int, Result] = {}

    def advance(place: int, step: Callable[[], Tensor]) -> None:
        """Take a generator's next inputs, or its end."""
        try:
            waiting[place] = step()
        except StopIteration as stop:
            ended[place] = stop.value
            waiting.pop(place, None)

    for place, part in enumerate(parts):
        advance(place, partial(next, part))
    while waiting:
        outputs = yield torch.cat(list(waiting.values()))
        answers = torch.split(outputs, [len(inputs) for inputs in waiting.values()])
        for place, answer in zip(list(waiting), answers, strict=True):
            advance(place, partial(parts[place].send, answer))
    return [ended[place] for place in range(len(parts))]


def evenly(count: int, n: int) -> Tensor:
    """Return at most `n` places of `count`, `(m,)`, ascending and evenly spread from the first on."""
    return torch.linspace(0, count - 1, min(n, count)).round().long()
