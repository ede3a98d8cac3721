"""The Evaluator against children built one by one, each with a module of its own."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections.abc import Generator

import pytest
import torch
from evoens_strategies.noisy import Noisy
from faulty import Faulty
from fresh import ENVIRONMENT
from tiny import FIRST, TinyProblem, tiny_parent
from torch import Tensor

from evoens.children import child_weights
from evoens.evaluation.evaluator import Evaluator, Outcome, Plan
from evoens.genome import Gene, Genome
from evoens.parent import fingerprint
from evoens.problem import Evaluation, Split

SEARCH = Split("search", 0, 40)
LOOP, LANES, VMAP, BFLOAT16 = Plan(), Plan(children=3), Plan("vmap", children=4), Plan(precision="bfloat16")
plans = pytest.mark.parametrize("plan", [LOOP, LANES, VMAP, BFLOAT16], ids=["loop", "lanes", "vmap", "bfloat16"])


class Uneven(TinyProblem):
    """How many inputs come next depends on the child's own answers; all answers are kept."""

    def cases(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
        rows = self.inputs[FIRST[split.name] : FIRST[split.name] + split.count]
        outputs: list[Tensor] = []
        size = 5
        while len(rows):
            outputs.append((yield rows[:size]))
            rows, size = rows[size:], 1 + int(outputs[-1].sum(0)[0] * 7) % 9
        kept = torch.cat(outputs)
        return Evaluation(kept.amax(-1).double(), split.count, artifacts={"outputs": kept})


def genomes(n: int) -> list[Genome]:
    return Noisy(sigma=0.3).ask(n, random.Random(0))


def seeded(*seeds: int) -> list[Genome]:
    return [Genome((Gene(seed, 0.3),)) for seed in seeds]


def kept(outcomes: list[Outcome]) -> dict[str, Tensor]:
    return {o.genome.key: o.evaluation.artifacts["outputs"] for o in outcomes if o.evaluation is not None}


@pytest.mark.parametrize("plan", [LOOP, LANES, VMAP], ids=["loop", "lanes", "vmap"])
def test_a_child_scores_what_it_scores_in_a_module_of_its_own(tiny_problem: TinyProblem, plan: Plan) -> None:
    strategy, children = Noisy(sigma=0.3), genomes(10)
    outcomes = Evaluator(tiny_problem.parent, strategy, tiny_problem, plan).evaluate(children, SEARCH)
    assert [o.genome for o in outcomes] == children
    scores = set()
    for outcome in outcomes:
        own = tiny_problem.parent.child(child_weights(tiny_problem.parent, strategy, outcome.genome))
        expected = tiny_problem.evaluate(own.predict, SEARCH)
        assert outcome.evaluation is not None and outcome.status == "ok"
        assert torch.equal(outcome.evaluation.cases, expected.cases)
        scores.add(expected.score)
    assert len(scores) > 3  # the children do differ


@plans
def test_bits_depend_neither_on_the_order_nor_on_the_calls(plan: Plan) -> None:
    problem, children = Uneven(), genomes(11)
    evaluator = Evaluator(problem.parent, Noisy(sigma=0.3), problem, plan)
    whole = kept(evaluator.evaluate(children, SEARCH))
    shuffled = children.copy()
    random.Random(3).shuffle(shuffled)
    again: dict[str, Tensor] = {}
    for part in (shuffled[:1], shuffled[1:4], shuffled[4:]):
        again |= kept(evaluator.evaluate(part, SEARCH))
    assert whole.keys() == again.keys() and len(whole) == 11
    assert all(torch.equal(whole[key], again[key]) for key in whole)


@plans
def test_a_child_that_fails_is_a_result_and_leaves_the_others_as_they_are(plan: Plan) -> None:
    problem = Uneven()
    evaluator = Evaluator(problem.parent, Faulty(sigma=0.3), problem, plan)
    outcomes = evaluator.evaluate(seeded(10, 1, 11, 2, 3, 12, 5), SEARCH)
    errors = [o.error for o in outcomes]
    assert [o.status for o in outcomes] == ["ok", "failed", "ok", "failed", "failed", "ok", "failed"]
    assert errors[1] == "SpecError: Faulty.perturb('first.weight'): RuntimeError: this gene is broken"
    assert "not finite" in str(errors[3]) and "ShapeError" in str(errors[4]) and "StopIteration" in str(errors[6])
    alone = kept(evaluator.evaluate(seeded(10, 11, 12), SEARCH))
    assert all(torch.equal(alone[key], value) for key, value in kept(outcomes).items())


@plans
def test_an_interrupt_passes_through(tiny_problem: TinyProblem, plan: Plan) -> None:
    evaluator = Evaluator(tiny_problem.parent, Faulty(sigma=0.3), tiny_problem, plan)
    with pytest.raises(KeyboardInterrupt):
        evaluator.evaluate(seeded(10, 4), SEARCH)


def test_a_case_that_raises_or_is_not_a_number_fails_its_child_only(tiny_problem: TinyProblem) -> None:
    class Sour(TinyProblem):
        calls = 0

        def cases(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
            outputs = yield self.inputs[:4]
            self.calls += 1
            if self.calls == 2:
                raise ValueError("no such level")
            return Evaluation(outputs[:, 0].double() * (torch.nan if self.calls == 3 else 1.0), 4)

    problem = Sour()
    outcomes = Evaluator(problem.parent, Noisy(sigma=0.3), problem, LOOP).evaluate(genomes(4), SEARCH)
    assert [o.status for o in outcomes] == ["ok", "failed", "failed", "ok"]
    assert outcomes[1].error == "ValueError: no such level"
    assert "not finite" in str(outcomes[2].error)


@plans
def test_results_are_told_in_order(tiny_problem: TinyProblem, plan: Plan) -> None:
    told: list[tuple[int, Outcome]] = []
    evaluator = Evaluator(tiny_problem.parent, Noisy(sigma=0.3), tiny_problem, plan)
    outcomes = evaluator.evaluate(genomes(6), SEARCH, lambda place, outcome: told.append((place, outcome)))
    assert told == list(enumerate(outcomes))
    assert evaluator.evaluate([], SEARCH) == []


@plans
def test_reported_numbers_are_float32_whatever_the_plan(tiny_problem: TinyProblem, plan: Plan) -> None:
    parent, strategy, children = tiny_problem.parent, Noisy(sigma=0.3), genomes(3)
    evaluator = Evaluator(parent, strategy, tiny_problem, plan)
    expected = [parent.child(child_weights(parent, strategy, g)).predict(tiny_problem.inputs) for g in children]
    outputs = evaluator.outputs(children, tiny_problem.inputs, batch=7)
    assert outputs.shape == (3, 120, 3) and outputs.dtype == torch.float32
    torch.testing.assert_close(outputs, torch.stack(expected), rtol=0, atol=1e-6)
    assert torch.equal(evaluator.outputs([Genome()], tiny_problem.inputs)[0], parent.predict(tiny_problem.inputs))


def test_without_a_plan_one_is_measured(tiny_problem: TinyProblem) -> None:
    evaluator = Evaluator(tiny_problem.parent, Noisy(sigma=0.3), tiny_problem)
    assert Plan.from_json(evaluator.plan.to_json()) == evaluator.plan
    assert all(o.status == "ok" for o in evaluator.evaluate(genomes(3), SEARCH))


def fresh_process(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", f"import {__name__} as t; t.{code}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, check=True).stdout.strip()


def print_weights() -> None:
    parent, strategy = tiny_parent(), Noisy(sigma=0.3)
    print(*(fingerprint(child_weights(parent, strategy, Genome.from_json(json.loads(text)))) for text in sys.argv[1:]))


def test_a_child_rebuilt_in_another_process_is_the_same_bit_for_bit() -> None:
    elite, other = genomes(2)
    children = [elite, other, elite.stacked(Gene(99, 0.1))]
    there = fresh_process("print_weights()", *(g.canonical for g in children)).split()
    assert there == [fingerprint(child_weights(tiny_parent(), Noisy(sigma=0.3), g)) for g in children]
    assert len(set(there)) == 3


class OneCase(TinyProblem):
    def __init__(self) -> None:
        super().__init__()
        self.parent = tiny_parent(hidden=512)  # 18 kB: ten thousand kept would be seen

    def cases(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
        outputs = yield self.inputs[:1]
        return Evaluation(outputs[:, 0].double(), 1)


def print_peak() -> None:
    import resource

    problem = OneCase()
    evaluator = Evaluator(problem.parent, Noisy(sigma=0.3), problem, LOOP)
    outcomes = evaluator.evaluate(seeded(*range(int(sys.argv[1]))), SEARCH)
    assert all(o.status == "ok" for o in outcomes)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


@pytest.mark.slow
def test_ten_thousand_children_need_no_more_memory_than_sixteen() -> None:
    few, many = (float(fresh_process("print_peak()", n)) for n in ("16", "10000"))
    assert many - few < 100  # MiB
