"""The verdict's contest: who is measured on which cases, once each, and what is said of it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from tiny import COUNT
from tiny_run import TinyFrames, config, experiment, right_answers
from torch import Tensor

from evoens.ensemble import Ensemble
from evoens.errors import EvoensError, SpecError
from evoens.evaluation.result_cache import ResultCache
from evoens.experiment.comparison import Comparison, verdict
from evoens.genome import Genome
from evoens.methods import base
from evoens.methods.base import Evolved, Fitted, Method
from evoens.methods.compared import compared
from evoens.parent import Predictor
from evoens.problem import Evaluation, Measure, Problem, Split, drive_batched
from evoens.progress import OnProgress

TEST = Split("test", 0, COUNT)
NAMES = ("parent", "best_child", "random_children", "ensemble")


class TwoRules(TinyFrames):
    """Beside its own measure it has one that turns every answer round."""

    measures = (*TinyFrames.measures, Measure("turned", "turned round", "accuracy", higher_is_better=False))

    def turned(self) -> TinyFrames:
        other = TinyFrames(before=self.before)
        other.labels = (other.labels + 1) % 3
        return other

    def reported(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
        own, other = yield from drive_batched([self.cases(split), self.turned().cases(split)])
        return Evaluation(own.cases, own.samples, {"turned": other.cases})

    def verdict_note(self, blocks: Mapping[str, Any]) -> str:
        return f"Turned round it is right in {blocks['parent']['test_turned']['score']:.3f} of the cases."


@pytest.fixture
def measured() -> list[Split]:
    return []


@pytest.fixture
def problem(measured: list[Split]) -> TwoRules:
    return TwoRules(before=measured.append)


@pytest.fixture
def evolved(problem: TinyFrames) -> Evolved:
    settings = config(strategy={"sigma": 0.8})
    strategy = experiment(settings, problem).strategy
    genomes = strategy.ask(12, Random(1))
    members, best, rest = genomes[:3], genomes[3], genomes[4:]
    own = {"strategy": strategy, "members": members, "best": best, "unselected": rest}
    return drawn(Evolved(problem=problem, config=settings, device=torch.device("cpu"), **own), 4)


def drawn(evolved: Evolved, draws: int) -> Evolved:
    return replace(evolved, config=config(strategy={"sigma": 0.8}, report={"random_draws": draws}))


def comparison(evolved: Evolved, problem: Problem, *further: Method) -> Comparison:
    fitted = {m.name: m.fit(evolved, Path("unused"), lambda _: None) for m in compared(further)}
    return Comparison(problem, fitted, evolved.device, resamples=200, seed=5)


def run(
    evolved: Evolved, problem: Problem, ledger: ResultCache | None = None, *further: Method
) -> dict[str, dict[str, Any]]:
    return comparison(evolved, problem, *further).run(ledger or ResultCache(), lambda *_: None)[0]


def test_each_is_measured_on_every_case_by_both_measures(evolved: Evolved, problem: TwoRules) -> None:
    blocks, turned = run(evolved, problem), problem.turned()
    for label, ruled in (("test", problem), ("test_turned", turned)):
        parent = right_answers(ruled, Genome(), TEST)
        best = right_answers(ruled, evolved.best, TEST)
        for name, cases in {"parent": parent, "best_child": best}.items():
            assert blocks[name][label]["score"] == pytest.approx(cases.mean())
            assert blocks[name][f"{label}_difference"]["score"] == pytest.approx((cases - parent).mean())
        outputs = [
            evolved.problem.parent.child(child_weights(evolved, g)).predict(ruled.inputs[2 * COUNT :])
            for g in evolved.members
        ]
        right = (torch.stack(outputs).mean(0).argmax(-1) == ruled.labels[2 * COUNT :]).double()
        assert blocks["ensemble"][label]["score"] == pytest.approx(float(right.mean()))
        assert all(blocks[name][label]["n"] == COUNT for name in NAMES)


def child_weights(evolved: Evolved, genome: Genome) -> dict[str, torch.Tensor]:
    weights = dict(evolved.problem.parent.weights)
    for gene in genome.genes:
        perturbed = {n: evolved.strategy.perturb(n, weights[n], gene) for n in evolved.problem.parent.perturbed}
        weights |= perturbed
    return weights


def test_random_children_are_unselected_and_share_the_cases(
    evolved: Evolved, problem: TinyFrames, measured: list[Split], monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[tuple[Genome, ...]] = []

    class Seen(Ensemble):
        def __init__(self, parent: Any, strategy: Any, genomes: Sequence[Genome], *more: Any, **rule: Any) -> None:
            built.append(tuple(genomes))
            super().__init__(parent, strategy, genomes, *more, **rule)

    monkeypatch.setattr(base, "Ensemble", Seen)
    run(evolved, problem)
    drawn = [genomes for genomes in built if set(genomes) <= set(evolved.unselected)]
    assert len(drawn) == 4 and all(len(set(genomes)) == 3 for genomes in drawn) and len(set(drawn)) == 4
    whole, quarters = ([Split("test", first, n) for first in range(0, 40, n) for _ in range(2)] for n in (40, 10))
    assert measured == whole + quarters + whole + whole  # each by both measures
    assert [len(genomes) for genomes in built] == [*[3] * 5, *[1] * 2]


class Odd(Method):
    """Whatever it is made with."""

    name = "odd"

    def __init__(self, predict: Callable[[torch.Tensor], torch.Tensor], about: dict[str, Any]) -> None:
        self.fitted = Fitted([lambda: predict], about)

    def fit(self, evolved: Evolved, folder: Path, on_progress: OnProgress) -> Fitted:
        return self.fitted


def test_a_method_that_gives_no_probabilities_is_refused(evolved: Evolved, problem: TinyFrames) -> None:
    parent = problem.parent.predict
    for predict, found in (
        (lambda x: parent(x).log(), "odd: expected probabilities"),
        (lambda x: parent(x) * 2, "odd: expected probabilities"),
        (lambda x: parent(x).logits, "odd does not predict"),
    ):
        with pytest.raises(SpecError, match=found):
            run(evolved, problem, None, Odd(predict, {}))


def test_what_is_measured_cannot_be_claimed(evolved: Evolved, problem: TinyFrames) -> None:
    with pytest.raises(SpecError, match="odd: expected `about` without test, test_difference"):
        run(evolved, problem, None, Odd(problem.parent.predict, {"test_difference": 9, "test": 1.0}))


def test_random_children_score_what_their_draws_score(evolved: Evolved, problem: TinyFrames) -> None:
    one = drawn(replace(evolved, unselected=evolved.unselected[:3]), 3)  # every draw is the same three, in some order
    block = run(one, problem)["random_children"]["test"]
    together = replace(evolved, members=evolved.unselected[:3])
    assert block["score"] == pytest.approx(run(together, problem)["ensemble"]["test"]["score"])
    many = drawn(evolved, 1000)  # more draws than cases: some draws have none
    assert run(many, problem)["random_children"]["test"]["n"] == COUNT


def test_a_parent_that_votes_is_among_the_random_children_too(evolved: Evolved, problem: TinyFrames) -> None:
    voting = replace(evolved, members=[*evolved.members, Genome()], unselected=evolved.unselected[:3])
    same = replace(voting, members=[*evolved.unselected[:3], Genome()])
    block = run(voting, problem)["random_children"]["test"]
    assert block["score"] == pytest.approx(run(same, problem)["ensemble"]["test"]["score"])


def test_nothing_is_measured_twice(evolved: Evolved, problem: TinyFrames, measured: list[Split]) -> None:
    ledger, told = ResultCache(), []
    first, _ = comparison(evolved, problem).run(ledger, lambda *row: told.append(row))
    assert [row[1:] for row in told] == [(i + 1, 7) for i in range(7)] and ledger.evaluations == 7
    assert [sum(row[0] == name for row in told) for name in NAMES] == [1, 1, 4, 1]
    measured.clear()
    assert run(evolved, problem, ResultCache(ledger.entries)) == first and measured == []


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


@pytest.mark.parametrize(
    ("interval", "precision", "says"),
    [
        ((-0.1, 0.3), 0.2, "shows no gain over the parent: accuracy 0.70 against 0.60"),
        ((-0.1, 0.3), 0.2, "[−0.10, +0.30] (95 %, paired, known to ±0.2)"),
        ((-0.1, 0.3), 0.1, "cannot be told from the parent"),
        ((-0.1, 0.3), 0.1, "(95 %, paired, not known to ±0.1)"),
        ((0.1, 0.3), 0.2, "beats the parent"),
        ((-0.3, -0.1), 0.01, "loses to the parent"),
    ],
)
def test_what_is_known_closely_enough_is_no_gain(interval: tuple[float, float], precision: float, says: str) -> None:
    scores = {"parent": 0.6, "ensemble": 0.7, "random_children": 0.7}
    blocks: dict[str, dict[str, Any]] = {name: {"test": {"score": score}} for name, score in scores.items()}
    blocks["ensemble"]["test_difference"] = {"score": 0.1, "ci95": list(interval), "n": 77}
    assert says in verdict(TinyFrames(), blocks, precision=precision)


def test_a_problem_may_add_its_own_remark(evolved: Evolved, problem: TwoRules) -> None:
    blocks = run(evolved, problem)
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


def test_members_are_measured_with_their_ensemble_where_that_can_be(evolved: Evolved, problem: TwoRules) -> None:
    assert "alone" not in run(evolved, problem)["ensemble"]
    twice = replace(evolved, members=[evolved.members[0], evolved.members[1], evolved.members[0], Genome()])
    ledger, alone = ResultCache(), run(twice, problem)
    found = run(twice, WithMembers(), ledger)
    rows = found["ensemble"].pop("alone")
    assert found == alone  # the ensemble's own figures are what they were
    assert run(twice, WithMembers(), ResultCache(ledger.entries))["ensemble"]["alone"] == rows  # from what was kept
    assert [row["key"] for row in rows] == [genome.key for genome in evolved.members[:2]]  # once each, not the parent
    for row, genome in zip(rows, evolved.members, strict=False):
        assert row["test"] == pytest.approx(right_answers(problem, genome, TEST).mean())
        assert row["test_turned"] == pytest.approx(right_answers(problem.turned(), genome, TEST).mean())


class Halves(Method):
    """Two predictors, each for a half of the cases: always the same class."""

    name = "halves"

    def fit(self, evolved: Evolved, folder: Path, on_progress: OnProgress) -> Fitted:
        return Fitted([lambda: always(0), lambda: always(1)], {"cost": 3}, details=lambda results: {"who": [*results]})


def always(place: int) -> Predictor:
    return lambda inputs: torch.eye(3)[[place] * len(inputs)]


def test_a_further_method_is_measured_beside_the_others(evolved: Evolved, problem: TwoRules) -> None:
    known = run(evolved, problem)
    blocks, details = comparison(evolved, problem, Halves()).run(ResultCache(), lambda *_: None)
    assert list(blocks) == [*NAMES[:3], "halves", "ensemble"] == details["who"]
    own = blocks.pop("halves")
    assert blocks == known and own["cost"] == 3
    first, second = problem.labels[2 * COUNT :].split(COUNT // 2)
    assert own["test"]["score"] == pytest.approx(int((first == 0).sum() + (second == 1).sum()) / COUNT)
    less = own["test"]["score"] - known["parent"]["test"]["score"]
    assert own["test_difference"]["score"] == pytest.approx(less)


class Echo(Method):
    """The first member, which says of itself that its likeliest answers are the best child's."""

    name = "echo"

    def fit(self, evolved: Evolved, folder: Path, on_progress: OnProgress) -> Fitted:
        one = [evolved.members[0]]
        return Fitted(
            [lambda: evolved.ensemble(one).predict], likeliest="best_child", details=lambda _: {"own": {"b": 2}}
        )


def test_what_rests_on_the_same_likeliest_answers_is_not_measured_again(
    evolved: Evolved, problem: TwoRules, measured: list[Split]
) -> None:
    run(evolved, problem)
    before = len(measured)
    measured.clear()
    found = run(evolved, problem, None, Echo())
    assert len(measured) == before + 1  # by its own rule alone
    own = right_answers(problem, evolved.members[0], TEST)
    assert found["echo"]["test"]["score"] == pytest.approx(own.mean())
    for key in ("test_turned", "test_turned_difference"):
        assert found["echo"][key] == found["best_child"][key]


def test_details_of_one_name_go_together(evolved: Evolved, problem: TwoRules) -> None:
    class Other(Echo):
        name = "other"

        def fit(self, evolved: Evolved, folder: Path, on_progress: OnProgress) -> Fitted:
            return Fitted(details=lambda _: {"own": {"a": 1}, "alone": [3]})

    _, details = comparison(evolved, problem, Echo(), Other()).run(ResultCache(), lambda *_: None)
    assert details == {"own": {"a": 1, "b": 2}, "alone": [3]}


def test_a_method_that_raises_is_named(evolved: Evolved, problem: TwoRules) -> None:
    class Broken(Halves):
        def fit(self, evolved: Evolved, folder: Path, on_progress: OnProgress) -> Fitted:
            return Fitted([lambda: dict[str, Predictor]()["nothing"]])

    with pytest.raises(EvoensError, match="halves cannot be made: KeyError: 'nothing'"):
        run(evolved, problem, None, Broken())


def in_blocks(evolved: Evolved, problem: Problem, precision: float | None) -> Comparison:
    problem.block = 10
    return replace(comparison(evolved, problem), precision=precision)


def test_blocks_are_measured_until_the_difference_is_known(
    evolved: Evolved, problem: TwoRules, measured: list[Split]
) -> None:
    whole = in_blocks(evolved, problem, None).run(ResultCache(), lambda *_: None)[0]
    wide, told = whole["ensemble"]["test_difference"]["ci95"], list[tuple[str, int, int]]()
    measured.clear()
    most = wide[1] - wide[0]  # twice what all the cases have: reached before they are spent
    found = in_blocks(evolved, problem, most).run(ResultCache(), lambda *row: told.append(row))[0]
    seen = found["ensemble"]["test"]["n"]
    assert 10 <= seen < COUNT and seen % 10 == 0
    assert all(found[name][key]["n"] == seen for name in NAMES for key in ("test", "test_turned_difference"))
    assert max(split.first + split.count for split in measured) == seen
    assert [row[1:] for row in told] == [(i + 1, 7 * COUNT // 10) for i in range(7 * seen // 10)]
    parent, members = right_answers(problem, Genome(), TEST)[:seen], found["ensemble"]["test_difference"]
    assert found["parent"]["test"]["score"] == pytest.approx(parent.mean())
    low, high = members["ci95"]
    assert (high - low) / 2 <= most
    never = in_blocks(evolved, problem, 1e-9).run(ResultCache(), lambda *_: None)[0]
    alike = [name for name in NAMES if name != "random_children"]  # whose draws share the cases otherwise
    assert {name: never[name] for name in alike} == {name: whole[name] for name in alike}


def test_a_comparison_in_blocks_goes_on_where_it_was_broken_off(evolved: Evolved, problem: TwoRules) -> None:
    whole = in_blocks(evolved, problem, 1e-9).run(ResultCache(), lambda *_: None)[0]
    ledger = ResultCache()

    def die(name: str, done: int, total: int) -> None:
        if done % 5 == 0:
            raise KeyboardInterrupt

    for _ in range(7 * COUNT // 10 // 5):
        with pytest.raises(KeyboardInterrupt):
            in_blocks(evolved, problem, 1e-9).run(ledger, die)
    assert in_blocks(evolved, problem, 1e-9).run(ledger, die)[0] == whole
