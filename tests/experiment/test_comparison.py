"""The verdict's contest: who is measured on which cases, once each, and what is said of it."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import torch
from tiny import COUNT
from tiny_run import TinyFrames, config, experiment, right_answers
from torch import Tensor

from evoens.ensemble import Ensemble
from evoens.evaluation.result_cache import Ledger
from evoens.experiment import comparison as compare
from evoens.experiment.comparison import NAMES, Contest, verdict
from evoens.genome import Genome
from evoens.problem import Evaluation, Measure, Problem, Split, together

TEST = Split("test", 0, COUNT)


class TwoRules(TinyFrames):
    """Beside its own measure it has one that turns every answer round."""

    measures = (*TinyFrames.measures, Measure("turned", "turned round", "accuracy", higher_is_better=False))

    def turned(self) -> TinyFrames:
        other = TinyFrames(before=self.before)
        other.labels = (other.labels + 1) % 3
        return other

    def reported(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
        own, other = yield from together([self.cases(split), self.turned().cases(split)])
        return Evaluation(own.cases, own.samples, {"turned": other.cases})

    def remark(self, blocks: Mapping[str, Any]) -> str:
        return f"Turned round it is right in {blocks['parent']['test_turned']['score']:.3f} of the cases."


@pytest.fixture
def measured() -> list[Split]:
    return []


@pytest.fixture
def problem(measured: list[Split]) -> TwoRules:
    return TwoRules(before=measured.append)


@pytest.fixture
def contest(problem: TinyFrames) -> Contest:
    strategy = experiment(config(strategy={"sigma": 0.8}), problem).strategy
    genomes = strategy.ask(12, Random(1))
    members, best, rest = genomes[:3], genomes[3], genomes[4:]
    return Contest(problem.parent, strategy, members, best, rest, draws=4, seed=5, device=torch.device("cpu"))


def run(contest: Contest, problem: Problem, ledger: Ledger | None = None) -> dict[str, dict[str, Any]]:
    return contest.run(problem, ledger or Ledger(), 200, lambda *_: None)[0]


def test_each_is_measured_on_every_case_by_both_measures(contest: Contest, problem: TwoRules) -> None:
    blocks, turned = run(contest, problem), problem.turned()
    for label, ruled in (("test", problem), ("test_turned", turned)):
        parent = right_answers(ruled, Genome(), TEST)
        best = right_answers(ruled, contest.best, TEST)
        for name, cases in {"parent": parent, "best_child": best}.items():
            assert blocks[name][label]["score"] == pytest.approx(cases.mean())
            assert blocks[name][f"{label}_difference"]["score"] == pytest.approx((cases - parent).mean())
        outputs = [
            contest.parent.child(child_weights(contest, g)).predict(ruled.inputs[2 * COUNT :]) for g in contest.members
        ]
        right = (torch.stack(outputs).mean(0).argmax(-1) == ruled.labels[2 * COUNT :]).double()
        assert blocks["ensemble"][label]["score"] == pytest.approx(float(right.mean()))
        assert all(blocks[name][label]["n"] == COUNT for name in NAMES)


def child_weights(contest: Contest, genome: Genome) -> dict[str, torch.Tensor]:
    weights = dict(contest.parent.weights)
    for gene in genome.genes:
        perturbed = {n: contest.strategy.perturb(n, weights[n], gene) for n in contest.parent.perturbed}
        weights |= perturbed
    return weights


def test_random_children_are_unselected_and_share_the_cases(
    contest: Contest, problem: TinyFrames, measured: list[Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[tuple[Genome, ...]] = []

    class Seen(Ensemble):
        def __init__(self, parent: Any, strategy: Any, genomes: Sequence[Genome], *more: Any, **rule: Any) -> None:
            built.append(tuple(genomes))
            super().__init__(parent, strategy, genomes, *more, **rule)

    monkeypatch.setattr(compare, "Ensemble", Seen)
    run(contest, problem)
    drawn = [genomes for genomes in built if set(genomes) <= set(contest.unselected)]
    assert len(drawn) == 4 and all(len(set(genomes)) == 3 for genomes in drawn) and len(set(drawn)) == 4
    whole, quarters = ([Split("test", first, n) for first in range(0, 40, n) for _ in range(2)] for n in (40, 10))
    assert measured == whole + quarters + whole + whole  # each by both measures
    assert [len(genomes) for genomes in built] == [*[3] * 5, *[1] * 2]


def test_random_children_score_what_their_draws_score(contest: Contest, problem: TinyFrames) -> None:
    one = replace(contest, unselected=contest.unselected[:3], draws=3)  # every draw is the same three, in some order
    block = run(one, problem)["random_children"]["test"]
    together = replace(contest, members=contest.unselected[:3])
    assert block["score"] == pytest.approx(run(together, problem)["ensemble"]["test"]["score"])
    many = replace(contest, draws=1000)  # more draws than cases: some draws have none
    assert run(many, problem)["random_children"]["test"]["n"] == COUNT


def test_a_parent_that_votes_is_among_the_random_children_too(contest: Contest, problem: TinyFrames) -> None:
    voting = replace(contest, members=[*contest.members, Genome()], unselected=contest.unselected[:3])
    same = replace(voting, members=[*contest.unselected[:3], Genome()])
    block = run(voting, problem)["random_children"]["test"]
    assert block["score"] == pytest.approx(run(same, problem)["ensemble"]["test"]["score"])


def test_nothing_is_measured_twice(contest: Contest, problem: TinyFrames, measured: list[Split]) -> None:
    ledger, told = Ledger(), []
    first, _ = contest.run(problem, ledger, 200, lambda *row: told.append(row))
    assert [row[1:] for row in told] == [(i + 1, 7) for i in range(7)] and ledger.evaluations == 7
    assert [sum(row[0] == name for row in told) for name in NAMES] == [1, 1, 4, 1]
    measured.clear()
    assert run(contest, problem, Ledger(ledger.entries)) == first and measured == []


@pytest.mark.parametrize(
    ("interval", "scores", "says"),
    [
        ((0.1, 0.3), (0.5, 0.7, 0.6), ("beats the parent", "it is above as many random children (0.60)")),
        ((-0.3, -0.1), (0.9, 0.7, 0.8), ("loses to the parent", "it is below")),
        ((-0.1, 0.3), (0.6, 0.7, 0.7), ("cannot be told from the parent", "it is level with")),
        ((0.0, 0.3), (0.6, 0.7, 0.7), ("cannot be told from", "[0.00, +0.30] (95 %, paired)")),
    ],
)
def test_verdict_claims_no_more_than_the_interval(
    interval: tuple[float, float], scores: tuple[float, float, float], says: tuple[str, ...]
) -> None:
    parent, ensemble, drawn = scores
    blocks = {
        name: {"test": {"score": score}}
        for name, score in zip(("parent", "ensemble", "random_children"), scores, strict=True)
    }
    blocks["ensemble"]["test_difference"] = {"score": ensemble - parent, "ci95": list(interval), "n": 77}  # type: ignore[dict-item]
    sentence = verdict(TinyFrames(), blocks)
    assert sentence.startswith("On 77 unseen cases the ensemble ")
    assert all(part in sentence for part in says) and f"accuracy {ensemble:.2f} against {parent:.2f}" in sentence
    assert f"({drawn:.2f})" in sentence


def test_a_problem_may_add_its_own_remark(contest: Contest, problem: TwoRules) -> None:
    blocks = run(contest, problem)
    turned = blocks["parent"]["test_turned"]["score"]
    assert verdict(problem, blocks).endswith(f". Turned round it is right in {turned:.3f} of the cases.")


class WithMembers(TwoRules):
    """Measures an ensemble's members in the same pass."""

    def reported_with_members(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
        parts = [self.reported(split) for _ in range(3)]
        (inputs, *_), ended = [next(part) for part in parts], list[Evaluation]()
        while not ended:
            answers = yield inputs
            for part, own in zip(parts, answers, strict=True):
                try:
                    inputs = part.send(own)
                except StopIteration as stop:
                    ended.append(stop.value)
        return replace(ended[0], members=tuple(ended[1:]))


def test_members_are_measured_with_their_ensemble_where_that_can_be(contest: Contest, problem: TwoRules) -> None:
    assert "alone" not in run(contest, problem)["ensemble"]
    twice = replace(contest, members=[contest.members[0], contest.members[1], contest.members[0], Genome()])
    ledger, alone = Ledger(), run(twice, problem)
    found = run(twice, WithMembers(), ledger)
    rows = found["ensemble"].pop("alone")
    assert found == alone  # the ensemble's own figures are what they were
    assert run(twice, WithMembers(), Ledger(ledger.entries))["ensemble"]["alone"] == rows  # from what was kept
    assert [row["key"] for row in rows] == [genome.key for genome in contest.members[:2]]  # once each, not the parent
    for row, genome in zip(rows, contest.members, strict=False):
        assert row["test"] == pytest.approx(right_answers(problem, genome, TEST).mean())
        assert row["test_turned"] == pytest.approx(right_answers(problem.turned(), genome, TEST).mean())
