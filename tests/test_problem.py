"""The Problem: driving its cases, parts of a split, and what counts as a score."""

from collections.abc import Generator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from evoens.problem import EnsembleObjective, Evaluation, Measure, Problem, Split, drive_batched


class Echo(Problem):
    """Each step sends as many rows as cases are left; a case's result is the sum of the probabilities it was given."""

    measures = (Measure("echo", "echo", "echo"),)

    def split(self, name: Any) -> Split:
        return Split(name, 0, 3)

    def cases(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
        sums, samples = torch.zeros(split.count, dtype=torch.float64), 0
        for step in range(split.count):
            inputs = torch.arange(split.first + step, split.first + split.count).float().unsqueeze(1)
            answers = yield inputs
            sums[step:] += answers.sum(1).double()
            samples += len(inputs)
        return Evaluation(sums, samples)

    def probe(self, *arguments: Any) -> Tensor:
        return torch.zeros(1, 1)

    def judgement(self, evaluations: Sequence[Evaluation]) -> EnsembleObjective:
        return EnsembleObjective(torch.zeros(1, 1), lambda outputs: float(outputs.mean()))


def test_evaluate_answers_every_step_and_returns_the_evaluation() -> None:
    seen: list[int] = []

    def predict(inputs: Tensor) -> Tensor:
        seen.append(len(inputs))
        return 10 * inputs

    evaluation = Echo().evaluate(predict, Split("search", 1, 3))
    assert seen == [3, 2, 1]
    assert evaluation.cases.tolist() == [10, 40, 90]
    assert evaluation.samples == 6
    assert evaluation.score == pytest.approx(140 / 3)


def test_an_error_of_the_predictor_comes_through() -> None:
    with pytest.raises(ZeroDivisionError):
        Echo().evaluate(lambda inputs: inputs / (1 // 0), Split("search", 0, 3))


def test_a_part_reaches_no_further_than_its_split() -> None:
    split = Split("select", 100, 10)
    assert split.part(0, 4) == Split("select", 100, 4)
    assert split.part(8, 4) == Split("select", 108, 2)
    assert split.part(10, 4).count == split.part(12, 4).count == 0


def test_parts_in_a_row_cover_the_split_once() -> None:
    split = Split("test", 7, 10)
    parts = [split.part(first, 3) for first in range(0, 10, 3)]
    assert [case for p in parts for case in range(p.first, p.first + p.count)] == list(range(7, 17))


def test_together_they_share_batches_and_end_as_alone() -> None:
    splits = [Split("search", 1, 3), Split("search", 0, 1), Split("search", 5, 2)]
    run = drive_batched([Echo().cases(split) for split in splits])
    inputs, seen = next(run), []
    with pytest.raises(StopIteration) as end:
        while True:
            seen.append(inputs[:, 0].tolist())
            inputs = run.send(10 * inputs)
    assert seen == [[1, 2, 3, 0, 5, 6], [2, 3, 6], [3]]
    alone = [Echo().evaluate(lambda inputs: 10 * inputs, split) for split in splits]
    for found, expected in zip(end.value.value, alone, strict=True):
        assert torch.equal(found.cases, expected.cases) and found.samples == expected.samples
