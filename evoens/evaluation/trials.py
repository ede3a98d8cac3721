"""Trials: predictors on their way through cases, several at once on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from contextlib import nullcontext
from functools import partial
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from evoens.errors import ProblemError
from evoens.machine.threads import side_by_side
from evoens.network.inputs import Inputs
from evoens.plugins.guest import failure
from evoens.problem import Evaluation

Done = TypeVar("Done")


class EvaluationTask:
    """A predictor on its way through some cases; these may yield None for a pause, from which `start` goes on.

    Args:
        cases: what it is measured on.
        timeout: seconds of its own, waits for others not counted, after which it fails: at its next answer, so that a
            pass that never returns is not ended.

    Attributes:
        spent: the seconds that it took so far.
        inputs: what waits for the predictor's answer; None before the start, in a pause and after the end.
        ended: whether it did.
        result: the evaluation, or the error that ended the trial; holds after the end.
    """

    def __init__(self, cases: Generator[Inputs | None, Tensor, Evaluation], timeout: float | None = None) -> None:
        self.inputs: Inputs | None = None
        self.ended = False
        self.result: Evaluation | Exception = ProblemError("not ended")
        self.spent = 0.0
        self._cases, self._timeout = cases, timeout

    def timed(self, work: Callable[[], Done]) -> Done:
        """Do some of the trial's work, whose seconds are its own."""
        began = time.monotonic()
        try:
            return work()
        finally:
            self.spent += time.monotonic() - began

    def start(self, prepare: Callable[[], object] = lambda: None) -> None:
        """Prepare the predictor, whose failure is the trial's, and take the next inputs."""
        try:
            self.timed(prepare)
        except Exception as error:
            self.fail(error)
        else:
            self._advance(partial(next, self._cases))

    def answer(self, outputs: Tensor) -> None:
        """Hand in the probabilities for `inputs` and take the next inputs."""
        if self._timeout is not None and self.spent > self._timeout:
            self.fail(ProblemError(f"took longer than evaluation.timeout, {self._timeout:g} s"))
        elif bool(torch.isfinite(outputs).all()):
            self._advance(partial(self._cases.send, outputs))
        else:
            self.fail(ProblemError("the child's outputs are not finite"))

    def fail(self, error: Exception) -> None:
        """End with this error."""
        self.inputs, self.ended, self.result = None, True, error

    def _advance(self, step: Callable[[], Inputs | None]) -> None:
        try:
            self.inputs = self.timed(step)
        except StopIteration as stop:
            self._end(stop.value)
        except Exception as error:
            self.fail(error)

    def _end(self, evaluation: Evaluation) -> None:
        if finite(evaluation):
            self.inputs, self.ended, self.result = None, True, evaluation
        else:
            self.fail(ProblemError("the results of its cases are not finite numbers"))


def finite(evaluation: Evaluation) -> bool:
    """Whether there are cases, and every one's result is a number."""
    return len(evaluation.cases) > 0 and bool(torch.isfinite(evaluation.cases).all())


class Lane(Protocol):
    """Room for some predictors, which are answered in one pass."""

    places: int

    def predict(self, inputs: Mapping[int, Any]) -> Mapping[int, Tensor | Exception]:
        """Return the probabilities for the inputs of each place, or the error that its predictor ended with."""


AnyLane = TypeVar("AnyLane", bound=Lane)
Pass = tuple[Mapping[int, Tensor | Exception], float]
"""What became of each place, and the seconds that all took together."""


def run(
    lanes: Sequence[AnyLane],
    trials: Iterator[EvaluationTask],
    prepare: Callable[[EvaluationTask, AnyLane, int], object],
) -> Iterator[EvaluationTask]:
    """Send trials on their way, each at a place of a lane, and yield them as they end or pause.

    The lanes' passes take turns on a thread each, the cases of one are played while the others compute, and a place
    that falls free is taken at once. All but the passes, preparing a predictor and playing its cases, happens on the
    caller's thread, so that nobody's Strategy or Problem meets another thread.

    Args:
        lanes: where predictors are answered; one needs no thread.
        trials: the next is asked for when there is a place for it, so that no more are on their way.
        prepare: puts a trial's predictor at a place; what it raises fails the trial.
    """
    seats: list[dict[int, EvaluationTask]] = [{} for _ in lanes]
    flying: dict[Future[Pass], int] = {}
    idle = list(range(len(lanes)))
    with side_by_side(len(lanes)) if len(lanes) > 1 else nullcontext() as pool:
        while True:
            while (lane := _emptiest(idle, lanes, seats)) is not None and (trial := next(trials, None)) is not None:
                place = next(place for place in range(lanes[lane].places) if place not in seats[lane])
                trial.start(partial(prepare, trial, lanes[lane], place))
                if trial.inputs is None:
                    yield trial
                else:
                    seats[lane][place] = trial
            for lane in idle:
                if seats[lane]:
                    inputs = {place: trial.inputs for place, trial in seats[lane].items()}
                    flying[_submit(pool, partial(_pass, lanes[lane], inputs))] = lane
            if not flying:
                return
            idle = []
            for future in wait(flying, return_when=FIRST_COMPLETED).done:
                idle.append(flying.pop(future))
                yield from _answered(seats[idle[-1]], *future.result())


def _emptiest(idle: Sequence[int], lanes: Sequence[Lane], seats: Sequence[Mapping[int, object]]) -> int | None:
    """Return the lane with the fewest trials of those that wait and have a place, so that all get as many."""
    return min((i for i in idle if len(seats[i]) < lanes[i].places), key=lambda i: len(seats[i]), default=None)


def _submit(pool: Executor | None, work: Callable[[], Pass]) -> Future[Pass]:
    if pool is not None:
        return pool.submit(work)
    done: Future[Pass] = Future()
    done.set_result(work())
    return done


def _pass(lane: Lane, inputs: Mapping[int, Any]) -> Pass:
    began = time.monotonic()
    answers: Mapping[int, Tensor | Exception]
    try:
        answers = lane.predict(inputs)
    except Exception as error:
        answers = dict.fromkeys(inputs, error)
    except BaseException as error:  # SystemExit, say
        answers = dict.fromkeys(inputs, failure(error, "the network"))
    return answers, time.monotonic() - began


def _answered(
    seats: dict[int, EvaluationTask], answers: Mapping[int, Tensor | Exception], seconds: float
) -> Iterator[EvaluationTask]:
    """Hand in what a pass has given, and yield the trials that are through, whose places are free again."""
    for place, answer in answers.items():
        trial = seats[place]
        trial.spent += seconds / len(answers)
        if isinstance(answer, Exception):
            trial.fail(answer)
        else:
            trial.answer(answer)
        if trial.inputs is None:
            del seats[place]
            yield trial
