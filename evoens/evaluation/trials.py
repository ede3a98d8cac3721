"""Trials: predictors on their way through cases, several at once on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from evoens.errors import ProblemError
from evoens.machine.threads import side_by_side
from evoens.network.inputs import Inputs
from evoens.plugins.guest import failure
from evoens.problem import Evaluation

Answer = Callable[[Any], Tensor]
"""Probabilities for what cases yield: a `Predictor`, or the tail of one."""

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


def run(trials: Iterator[tuple[EvaluationTask, Answer]], width: int) -> Iterator[EvaluationTask]:
    """Answer started trials, each by its predictor, and yield them as they end or pause.

    The networks' passes take turns on `width` threads. All else, making a trial and playing its cases, happens on the
    caller's thread, so that nobody's Strategy or Problem meets another thread.

    Args:
        trials: the next is asked for when one has ended and was yielded, so that `width` at most are on their way.
        width: how many at once; 1 needs no thread.
    """
    if width > 1:
        with side_by_side(width) as pool:
            yield from _on_threads(trials, width, pool)
    else:
        for trial, predict in trials:
            while trial.inputs is not None:
                _take(trial, partial(trial.timed, partial(predict, trial.inputs)))
            yield trial


def _on_threads(
    trials: Iterator[tuple[EvaluationTask, Answer]], width: int, pool: ThreadPoolExecutor
) -> Iterator[EvaluationTask]:
    waiting: dict[Future[Tensor], tuple[EvaluationTask, Answer]] = {}

    def on_its_way(trial: EvaluationTask, predict: Answer) -> bool:
        if trial.inputs is not None:
            waiting[pool.submit(trial.timed, partial(predict, trial.inputs))] = trial, predict
        return trial.inputs is not None

    while True:
        while len(waiting) < width and (pair := next(trials, None)) is not None:
            if not on_its_way(*pair):
                yield pair[0]
        if not waiting:
            return
        for future in wait(waiting, return_when=FIRST_COMPLETED).done:
            trial, predict = waiting.pop(future)
            _take(trial, future.result)
            if not on_its_way(trial, predict):
                yield trial


def _take(trial: EvaluationTask, outputs: Callable[[], Tensor]) -> None:
    try:
        answer = outputs()
    except Exception as error:
        trial.fail(error)
    except BaseException as error:  # SystemExit, say
        trial.fail(failure(error, "the network"))
    else:
        trial.answer(answer)
