"""Trials run side by side against the same ones run alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterator
from functools import partial

import pytest
import torch
from tiny import COUNT, TinyProblem
from torch import Tensor

from evoens.errors import ProblemError
from evoens.evaluation.trials import EvaluationTask, finite, run
from evoens.parent import Predictor
from evoens.problem import Evaluation, Split

SPLIT = Split("test", 0, 8)
widths = pytest.mark.parametrize("width", [1, 2, 3])


def started(problem: TinyProblem, split: Split) -> EvaluationTask:
    trial = EvaluationTask(problem.cases(split))
    trial.start()
    return trial


def cases(trial: EvaluationTask) -> Tensor:
    assert isinstance(trial.result, Evaluation)
    return trial.result.cases


@widths
def test_every_trial_ends_as_it_would_alone(tiny_problem: TinyProblem, width: int) -> None:
    splits = [Split("test", first, 1 + 3 * first % 17) for first in range(20)]
    trials = [started(tiny_problem, split) for split in splits]
    ended = list(run(((trial, tiny_problem.parent.predict) for trial in trials), width))
    assert set(ended) == set(trials) and len(ended) == 20
    for trial, split in zip(trials, splits, strict=True):
        assert torch.equal(cases(trial), tiny_problem.evaluate(tiny_problem.parent.predict, split).cases)


@widths
def test_cases_may_pause_and_go_on(tiny_problem: TinyProblem, width: int) -> None:
    def paused(split: Split) -> Generator[Tensor | None, Tensor, Evaluation]:
        first = yield tiny_problem.inputs[:3]
        yield None
        second = yield tiny_problem.inputs[3:8]
        return Evaluation(torch.cat([first, second])[:, 0].double(), 8)

    trials = [EvaluationTask(paused(SPLIT)) for _ in range(5)]
    for ended in (False, True):
        for trial in trials:
            trial.start()
        again = list(run(((trial, tiny_problem.parent.predict) for trial in trials), width))
        assert set(again) == set(trials) and all(trial.ended is ended and trial.inputs is None for trial in trials)
    expected = tiny_problem.parent.predict(tiny_problem.inputs[:8])[:, 0].double()
    assert all(torch.allclose(cases(trial), expected, rtol=0, atol=1e-6) for trial in trials)


@widths
def test_no_more_than_the_width_are_on_their_way(tiny_problem: TinyProblem, width: int) -> None:
    made, most = [0], [0]

    def trials() -> Iterator[tuple[EvaluationTask, Predictor]]:
        for _ in range(9):
            made[0] += 1
            most[0] = max(most[0], made[0])
            yield started(tiny_problem, Split("test", 0, 5)), tiny_problem.parent.predict

    for _ in run(trials(), width):
        made[0] -= 1
    assert most[0] == width and made[0] == 0


def test_networks_run_at_once_and_everything_else_on_the_callers_thread(tiny_problem: TinyProblem) -> None:
    both, here = threading.Barrier(2, timeout=20), threading.current_thread()
    seen: list[threading.Thread] = []

    class Watched(TinyProblem):
        def cases(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
            assert threading.current_thread() is here
            outputs = yield self.inputs[:2]
            assert threading.current_thread() is here
            return Evaluation(outputs[:, 0].double(), 2)

    def predict(inputs: Tensor) -> Tensor:
        both.wait()  # passes only when the other one is here too
        seen.append(threading.current_thread())
        return tiny_problem.parent.predict(inputs)

    problem = Watched()
    trials = [started(problem, Split("test", 0, 2)) for _ in range(4)]
    assert all(len(cases(t)) == 2 for t in run(((t, predict) for t in trials), 2))
    assert here not in seen and len(seen) == 4


@widths
def test_what_fails_ends_its_own_trial_only(tiny_problem: TinyProblem, width: int) -> None:
    def broken(inputs: Tensor) -> Tensor:
        raise ValueError("no answer")

    def unready() -> None:
        raise KeyError("no weights")

    def nan(inputs: Tensor) -> Tensor:
        return torch.full((len(inputs), 3), torch.nan)

    split, good = Split("test", 0, COUNT), tiny_problem.parent.predict
    unprepared = EvaluationTask(tiny_problem.cases(split))
    unprepared.start(unready)
    trials = [unprepared, *(started(tiny_problem, split) for _ in range(4))]
    predictors = [good, broken, good, nan, good]
    assert len(list(run(iter(zip(trials, predictors, strict=True)), width))) == 5
    kinds = [type(trial.result) for trial in trials]
    assert kinds == [KeyError, ValueError, Evaluation, ProblemError, Evaluation]


@widths
def test_an_interrupt_passes_through_and_the_threads_are_given_back(tiny_problem: TinyProblem, width: int) -> None:
    def interrupted(inputs: Tensor) -> Tensor:
        raise KeyboardInterrupt

    threads = torch.get_num_threads()
    trials = [(started(tiny_problem, Split("test", 0, COUNT)), interrupted) for _ in range(3)]
    with pytest.raises(KeyboardInterrupt):
        list(run(iter(trials), width))
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("cases", "expected"),
    [([1.0, 2.0], True), ([1.0, float("nan")], False), ([float("inf")], False), ([], False)],
)
def test_finite(cases: list[float], expected: bool) -> None:
    assert finite(Evaluation(torch.tensor(cases, dtype=torch.float64), len(cases))) is expected


@widths
def test_a_trial_that_takes_too_long_fails_and_no_other(tiny_problem: TinyProblem, width: int) -> None:
    """What counts is its own time: preparing, passes and cases, not that of those beside it."""

    def slow(inputs: Tensor) -> Tensor:
        time.sleep(0.4)
        return tiny_problem.parent.predict(inputs)

    split, good = Split("test", 0, COUNT), tiny_problem.parent.predict
    trials = [EvaluationTask(tiny_problem.cases(split), timeout=1.0) for _ in range(4)]
    for trial in trials:
        trial.start(partial(time.sleep, 1.1) if trial is trials[3] else lambda: None)
    predictors = [good, slow, good, good]  # three batches
    assert len(list(run(iter(zip(trials, predictors, strict=True)), width))) == 4
    late = "took longer than evaluation.timeout, 1 s"
    errors = [str(trial.result) if isinstance(trial.result, Exception) else "" for trial in trials]
    assert errors == ["", late, "", late]
