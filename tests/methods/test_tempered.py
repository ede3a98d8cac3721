"""Action temperature: what a temperature does, how one is chosen, and who then competes."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from tiny import COUNT, FIRST
from tiny_run import TinyFrames, config, experiment
from torch import Tensor

from evoens.evaluation.result_cache import ResultCache
from evoens.genome import Genome
from evoens.methods.base import Evolved, Fitted
from evoens.methods.tempered import Tempered, fitted
from evoens.problem import Evaluation, Split


class Drawn(TinyFrames):
    """A case's result is the probability of its label: what drawing an answer gets right on average."""

    action_temperatures = (1.0, 0.5, 0.25)

    def cases(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
        self.before(split)
        places = slice(FIRST[split.name] + split.first, FIRST[split.name] + split.first + split.count)
        outputs = yield self.inputs[places]
        return Evaluation(outputs.double().gather(1, self.labels[places, None])[:, 0], split.count)


def evolved(problem: TinyFrames) -> Evolved:
    settings = config()
    strategy = experiment(settings, problem).strategy
    genomes = strategy.ask(6, Random(1))
    found = {"members": genomes[:3], "best": genomes[3], "unselected": genomes}
    return Evolved(problem=problem, strategy=strategy, config=settings, device=torch.device("cpu"), **found)


def fit(who: Evolved, of: str) -> Fitted:
    method = Tempered("parent" if of == "parent" else "ensemble")
    assert method.name == f"{of}_tempered"
    return method.fit(who, Path("unused"), lambda _: None)


def by_hand(who: Evolved, of: str, temperature: float, place: slice) -> Tensor:
    """The probability of each label, from logits that are divided by the temperature of a mean of softmaxes."""
    parent, networks = who.problem.parent, [Genome()] if of == "parent" else who.members
    outputs = [
        parent.child({**parent.weights, **grown(who, genome)}).predict(who.problem.inputs[place])  # type: ignore[attr-defined]
        for genome in networks
    ]
    p = torch.stack(outputs).double().mean(0) ** (1 / temperature)
    labels: Tensor = who.problem.labels[place]  # type: ignore[attr-defined]
    return (p / p.sum(1, keepdim=True)).gather(1, labels[:, None])[:, 0]


def grown(who: Evolved, genome: Genome) -> dict[str, Tensor]:
    own = who.problem.parent
    return {n: who.strategy.perturb(n, own.weights[n], gene) for gene in genome.genes for n in own.perturbed}


@pytest.mark.parametrize("of", ["parent", "ensemble"])
def test_the_best_temperature_on_select_competes(of: str) -> None:
    who = evolved(Drawn())
    found = fit(who, of)
    select, test = slice(COUNT, 2 * COUNT), slice(2 * COUNT, 3 * COUNT)
    scores = {t: by_hand(who, of, t, select) for t in (1.0, 0.5, 0.25)}
    best = max(scores, key=lambda t: float(scores[t].mean()))
    assert best == 0.25 and found.about["temperature"] == best  # mostly right: the surer the better
    rows = found.details({})["action_temperatures"][of]
    assert found.details({})["temperature"] == {of: best}
    for row, (t, own) in zip(rows, scores.items(), strict=True):
        gain = own - scores[1.0]
        assert row["temperature"] == t and row["score"] == pytest.approx(float(own.mean()), rel=1e-5)
        assert row["difference"] == pytest.approx(float(gain.mean()), abs=1e-6)
        assert row["standard_error"] == pytest.approx(float(gain.std() / COUNT**0.5), rel=1e-4)
    (make,) = found.parts
    outputs = make()(who.problem.inputs[test])  # type: ignore[attr-defined]
    labels = who.problem.labels[test, None]  # type: ignore[attr-defined]
    torch.testing.assert_close(outputs.gather(1, labels)[:, 0], by_hand(who, of, best, test), rtol=1e-5, atol=1e-6)


def test_the_ensemble_s_size_is_told_and_the_parent_s_is_not() -> None:
    who = evolved(Drawn())
    assert fit(who, "ensemble").about == {"size": 3, "parent": False, "temperature": 0.25}
    assert fit(who, "parent").about == {"temperature": 0.25}


def test_what_was_played_is_not_played_again() -> None:
    played = list[Split]()
    who = evolved(Drawn(before=played.append))
    first = fit(who, "ensemble").details({})
    assert played == [Split("select", 0, COUNT)] * 3
    again = replace(who, ledger=ResultCache(who.ledger.entries))
    assert fit(again, "ensemble").details({}) == first and len(played) == 3


def test_a_temperature_of_one_is_nothing_new_to_measure() -> None:
    problem = TinyFrames()  # by the likeliest answer, which no temperature changes
    problem.action_temperatures = (1.0, 0.5)  # type: ignore[attr-defined]
    found = fit(evolved(problem), "ensemble")
    assert not found.parts and found.details({})["temperature"] == {"ensemble": 1.0}


@pytest.mark.parametrize("temperatures", [None, ()])
def test_where_no_actions_are_drawn_there_is_nothing_to_say(temperatures: tuple[float, ...] | None) -> None:
    problem = TinyFrames()
    if temperatures is not None:
        problem.action_temperatures = temperatures  # type: ignore[attr-defined]
    found = fit(evolved(problem), "parent")
    assert not found.parts and found.details({}) == {}


@pytest.mark.parametrize(
    ("better", "chosen"),
    [
        ([0.0, 0.0, 0.0, 0.0], 1.0),
        ([1.0, 1.0, 1.0, 1.0], 0.5),
        ([0.0, 0.0, 0.0, 1.0], 1.0),  # mean 0.25, standard error 0.25: not more than it
        ([0.0, 0.0, 1.0, 1.0], 0.5),  # mean 0.5, standard error 0.29
        ([-1.0, -1.0, 0.0, 0.0], 1.0),
    ],
)
def test_a_temperature_must_be_better_by_more_than_its_error(better: list[float], chosen: float) -> None:
    plain = torch.tensor([3.0, 0.0, 7.0, 1.0], dtype=torch.float64)
    returns = {1.0: plain, 0.5: plain + torch.tensor(better, dtype=torch.float64), 0.7: plain - 0.1}
    assert fitted(returns) == chosen


def test_one_case_says_nothing_of_its_error() -> None:
    assert fitted({1.0: torch.zeros(1), 0.5: torch.ones(1)}) == 1.0
