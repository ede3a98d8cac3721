"""Trials run side by side against the same ones run alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping

import pytest
import torch
from tiny import COUNT, TinyProblem
from torch import Tensor

from evoens.errors import ProblemError
from evoens.evaluation.trials import EvaluationTask, finite, run
from evoens.parent import Predictor
from evoens.problem import Evaluation, Split

SPLIT = Split("test", 0, 8)
shapes = pytest.mark.parametrize(("lanes", "places"), [(1, 1), (2, 1), (3, 1), (1, 4), (2, 3)])


class Room:
    """Places for predictors, all answered in one pass."""

    def __init__(self, places: int) -> None:
        self.places = places
        self.predictors: dict[int, Predictor] = {}
        self.most = 0

    def predict(self, inputs: Mapping[int, Tensor]) -> dict[int, Tensor | Exception]:
        self.most = max(self.most, len(inputs))
        found: dict[int, Tensor | Exception] = {}
        for place, own in inputs.items():
            try:
                found[place] = self.predictors[place](own)
            except ValueError as error:
                found[place] = error
        return found


def played(pairs: Iterable[tuple[EvaluationTask, Predictor]], lanes: int, places: int = 1) -> Iterator[EvaluationTask]:
    """Run trials by their predictors, on so many lanes with so many places each."""
    predictors = dict(pairs)

    def prepare(trial: EvaluationTask, room: Room, place: int) -> None:
        room.predictors[place] = predictors[trial]

    return run([Room(places) for _ in range(lanes)], iter(predictors), prepare)


def cases(trial: EvaluationTask) -> Tensor:
    assert isinstance(trial.result, Evaluation)
    return trial.result.cases


@shapes
def test_every_trial_ends_as_it_would_alone(tiny_problem: TinyProblem, lanes: int, places: int) -> None:
    splits = [Split("test", first, 1 + 3 * first % 17) for first in range(20)]
    trials = [EvaluationTask(tiny_problem.cases(split)) for split in splits]
    ended = list(played(((trial, tiny_problem.parent.predict) for trial in trials), lanes, places))
    assert set(ended) == set(trials) and len(ended) == 20
    for trial, split in zip(trials, splits, strict=True):
        assert torch.equal(cases(trial), tiny_problem.evaluate(tiny_problem.parent.predict, split).cases)


@shapes
def test_cases_may_pause_and_go_on(tiny_problem: TinyProblem, lanes: int, places: int) -> None:
    def paused(split: Split) -> Generator[Tensor | None, Tensor, Evaluation]:
        first = yield tiny_problem.inputs[:3]
        yield None
        second = yield tiny_problem.inputs[3:8]
        return Evaluation(torch.cat([first, second])[:, 0].double(), 8)

    trials = [EvaluationTask(paused(SPLIT)) for _ in range(5)]
    for ended in (False, True):
        again = list(played(((trial, tiny_problem.parent.predict) for trial in trials), lanes, places))
        assert set(again) == set(trials) and all(trial.ended is ended and trial.inputs is None for trial in trials)
    expected = tiny_problem.parent.predict(tiny_problem.inputs[:8])[:, 0].double()
    assert all(torch.allclose(cases(trial), expected, rtol=0, atol=1e-6) for trial in trials)


@shapes
def test_no_more_than_there_are_places_for_are_on_their_way(tiny_problem: TinyProblem, lanes: int, places: int) -> None:
    made, most, rooms = [0], [0], [Room(places) for _ in range(lanes)]

    def trials() -> Iterator[EvaluationTask]:
        for first in range(9):
            made[0] += 1
            most[0] = max(most[0], made[0])
            yield EvaluationTask(tiny_problem.cases(Split("test", 0, 5 + first)))

    def prepare(trial: EvaluationTask, room: Room, place: int) -> None:
        room.predictors[place] = tiny_problem.parent.predict

    for _ in run(rooms, trials(), prepare):
        made[0] -= 1
    assert most[0] == lanes * places and made[0] == 0
    assert {room.most for room in rooms} == {places}  # all have as many


def test_a_free_place_is_taken_while_the_others_go_on(tiny_problem: TinyProblem) -> None:
    """Of four trials in two places the long one ends last, and the short ones have gone by beside it."""
    lengths, batches = (40, 10, 10, 10), []
    trials = [EvaluationTask(tiny_problem.cases(Split("test", 0, n))) for n in lengths]  # passes of 16: 3, 1, 1, 1

    class Counted(Room):
        def predict(self, inputs: Mapping[int, Tensor]) -> dict[int, Tensor | Exception]:
            batches.append(len(inputs))
            return super().predict(inputs)

    def prepare(trial: EvaluationTask, room: Room, place: int) -> None:
        room.predictors[place] = tiny_problem.parent.predict

    assert list(run([Counted(2)], iter(trials), prepare))[-1] in (trials[0], trials[3])
    assert batches == [2, 2, 2]


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
    trials = [EvaluationTask(problem.cases(Split("test", 0, 2))) for _ in range(4)]
    assert all(len(cases(t)) == 2 for t in played(((trial, predict) for trial in trials), 2))
    assert here not in seen and len(seen) == 4


@shapes
def test_what_fails_ends_its_own_trial_only(tiny_problem: TinyProblem, lanes: int, places: int) -> None:
    def broken(inputs: Tensor) -> Tensor:
        raise ValueError("no answer")

    def unready(trial: EvaluationTask, room: Room, place: int) -> None:
        if trial is trials[0]:
            raise KeyError("no weights")
        room.predictors[place] = predictors[trials.index(trial)]

    def nan(inputs: Tensor) -> Tensor:
        return torch.full((len(inputs), 3), torch.nan)

    split, good = Split("test", 0, COUNT), tiny_problem.parent.predict
    trials = [EvaluationTask(tiny_problem.cases(split)) for _ in range(5)]
    predictors = [good, broken, good, nan, good]
    assert len(list(run([Room(places) for _ in range(lanes)], iter(trials), unready))) == 5
    kinds = [type(trial.result) for trial in trials]
    assert kinds == [KeyError, ValueError, Evaluation, ProblemError, Evaluation]


def test_a_pass_that_fails_as_a_whole_ends_all_that_were_in_it(tiny_problem: TinyProblem) -> None:
    class Leaving(Room):
        def predict(self, inputs: Mapping[int, Tensor]) -> dict[int, Tensor | Exception]:
            raise SystemExit("enough")

    trials = [EvaluationTask(tiny_problem.cases(SPLIT)) for _ in range(4)]
    assert len(list(run([Leaving(2), Leaving(2)], iter(trials), lambda *_: None))) == 4
    assert all("enough" in str(trial.result) for trial in trials)


@shapes
def test_an_interrupt_passes_through_and_the_threads_are_given_back(
    tiny_problem: TinyProblem, lanes: int, places: int
) -> None:
    def interrupted(inputs: Tensor) -> Tensor:
        raise KeyboardInterrupt

    threads = torch.get_num_threads()
    trials = [(EvaluationTask(tiny_problem.cases(Split("test", 0, COUNT))), interrupted) for _ in range(3)]
    with pytest.raises(KeyboardInterrupt):
        list(played(trials, lanes, places))
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("cases", "expected"),
    [([1.0, 2.0], True), ([1.0, float("nan")], False), ([float("inf")], False), ([], False)],
)
def test_finite(cases: list[float], expected: bool) -> None:
    assert finite(Evaluation(torch.tensor(cases, dtype=torch.float64), len(cases))) is expected


@shapes
def test_a_trial_that_takes_too_long_fails_and_no_other(tiny_problem: TinyProblem, lanes: int, places: int) -> None:
    """What counts is its own time: preparing, cases, and its share of the passes, not that of those beside it."""

    def slow(trial: EvaluationTask, room: Room, place: int) -> None:
        if trial is trials[3]:
            time.sleep(1.1)
        room.predictors[place] = tiny_problem.parent.predict

    split = Split("test", 0, COUNT)
    trials = [EvaluationTask(tiny_problem.cases(split), timeout=1.0) for _ in range(4)]  # three batches
    assert len(list(run([Room(places) for _ in range(lanes)], iter(trials), slow))) == 4
    late = "took longer than evaluation.timeout, 1 s"
    assert [str(t.result) if isinstance(t.result, Exception) else "" for t in trials] == ["", "", "", late]


def test_slow_passes_count_for_the_trial_whose_they_are(tiny_problem: TinyProblem) -> None:
    def slow(inputs: Tensor) -> Tensor:
        time.sleep(0.4)
        return tiny_problem.parent.predict(inputs)

    trials = [EvaluationTask(tiny_problem.cases(Split("test", 0, COUNT)), timeout=1.0) for _ in range(2)]
    list(played(zip(trials, [slow, tiny_problem.parent.predict], strict=True), 2))
    assert isinstance(trials[0].result, ProblemError) and isinstance(trials[1].result, Evaluation)
