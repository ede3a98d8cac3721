"""The ledger pays for no measurement twice, and what it recalls is what was measured."""

from __future__ import annotations

import json
from random import Random

import pytest
import torch
from tiny import TinyProblem

from evoens.evaluation.evaluator import Evaluator
from evoens.evaluation.plan import Plan
from evoens.evaluation.result_cache import ResultCache
from evoens.genome import Genome
from evoens.plugins.spec import load_class, locate
from evoens.problem import Evaluation
from evoens.strategy import Strategy


@pytest.fixture
def evaluator(tiny_problem: TinyProblem) -> Evaluator:
    strategy = load_class(locate("noisy"), Strategy)(sigma=0.3)
    return Evaluator(tiny_problem.parent, strategy, tiny_problem, Plan(), "cpu")


def test_only_the_missing_are_measured_and_order_holds(evaluator: Evaluator, tiny_problem: TinyProblem) -> None:
    genomes = evaluator.strategy.ask(6, Random(1))
    split, ledger, told = tiny_problem.split("search"), ResultCache(), []
    ledger.measure(evaluator, genomes[2:4], split, told.append)
    assert told == [1, 2]
    outcomes = ledger.measure(evaluator, genomes, split, told.append)
    assert told[2:] == [3, 4, 5, 6] and ledger.evaluations == 6
    plain = evaluator.evaluate(genomes, split)
    for outcome, expected in zip(outcomes, plain, strict=True):
        assert outcome.genome == expected.genome
        assert outcome.evaluation is not None and expected.evaluation is not None
        assert torch.equal(outcome.evaluation.cases, expected.evaluation.cases)


def test_it_survives_json(evaluator: Evaluator, tiny_problem: TinyProblem) -> None:
    split, ledger = tiny_problem.split("search"), ResultCache()
    (before,) = ledger.measure(evaluator, [Genome()], split, lambda _: None)
    beside = {"nll": torch.tensor([0.1, 5e-324], dtype=torch.float64), "pairs": torch.eye(2)}
    ledger.put(split, "more", Evaluation(torch.ones(2), 7, beside), None)
    again = ResultCache.load(json.loads(json.dumps(ledger.to_json())), ledger.tensors())
    more = again.evaluation(split, "more")
    assert more.samples == 7 and all(torch.equal(more.extra_metrics[name], rows) for name, rows in beside.items())
    (after,) = again.measure(evaluator, [Genome()], split, lambda _: pytest.fail("measured twice"))
    assert before.evaluation is not None and after.evaluation is not None
    assert torch.equal(before.evaluation.cases, after.evaluation.cases) and again.samples == split.count + 7


def test_a_failure_is_remembered(evaluator: Evaluator, tiny_problem: TinyProblem) -> None:
    (bad,) = evaluator.strategy.ask(1, Random(0))
    evaluator.strategy.perturb = lambda *_: torch.full((1,), torch.nan)  # type: ignore[method-assign]
    ledger = ResultCache()
    (first,) = ledger.measure(evaluator, [bad], tiny_problem.split("search"), lambda _: None)
    (second,) = ledger.measure(evaluator, [bad], tiny_problem.split("search"), lambda _: pytest.fail("tried twice"))
    assert first.error is not None and second.error == first.error and second.status == "failed"


def test_parts_of_a_split_are_measurements_of_their_own(tiny_problem: TinyProblem) -> None:
    ledger, split = ResultCache(), tiny_problem.split("test")

    def worth(value: float) -> Evaluation:
        return Evaluation(torch.tensor([value]), 1)

    assert ledger.get_or_run(split.part(0, 4), "x", lambda: worth(1.0)).tolist() == [1.0]
    assert ledger.get_or_run(split.part(4, 4), "x", lambda: worth(2.0)).tolist() == [2.0]
    assert ledger.get_or_run(split.part(0, 4), "x", lambda: worth(3.0)).tolist() == [1.0]
