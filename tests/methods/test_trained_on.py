"""Who competes with an ensemble of trained policies at equal frames: the parent trained on, and the members' soup."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from tiny_run import TinyFrames, config, experiment
from torch import Tensor

from evoens.children import TunedWeights
from evoens.errors import ProblemError
from evoens.genome import Genome
from evoens.methods.base import Evolved, Fitted
from evoens.methods.soup import Soup, mean_weights
from evoens.methods.trained_on import OneChild, TrainedOn
from evoens.parent import Parent
from evoens.progress import OnProgress
from evoens.strategy import Strategy


class Learning(TinyFrames):
    """Trains its parent on by making it another."""

    tuned_frames = 1000
    diverges = False

    def trained_on(self, children: int, folder: Path, on_progress: OnProgress) -> tuple[Parent, Parent]:
        if self.diverges:
            raise ProblemError("the training has diverged")
        self.asked = children
        return self.times(-1), self.times(-2)

    def one_child(
        self, strategy: Strategy, genome: Genome, children: int, folder: Path, on_progress: OnProgress
    ) -> Parent:
        if self.diverges:
            raise ProblemError("the training has diverged")
        self.asked, self.child = children, genome
        return self.times(3)

    def times(self, factor: float) -> Parent:
        weights = {name: factor * weight for name, weight in self.parent.weights.items()}
        return Parent.from_weights(self.parent.architecture, weights)


def evolved(folder: Path, problem: TinyFrames, members: list[Genome], tuned: TunedWeights | None) -> Evolved:
    own = experiment(config(), problem)
    cpu = torch.device("cpu")
    found = {"members": members, "best": members[0], "unselected": members, "tuned": tuned}
    return Evolved(problem=problem, strategy=own.strategy, config=own.config, device=cpu, **found)


@pytest.fixture
def learnt(tmp_path: Path) -> tuple[Evolved, list[dict[str, Tensor]]]:
    """Three trained children, two of them members; what each was trained to."""
    problem, tuned = Learning(), TunedWeights(tmp_path)
    genomes = experiment(config(), problem).strategy.ask(3, Random(0))
    weights = [{n: w * (i + 1) for n, w in problem.parent.weights.items()} for i in range(3)]
    for genome, own in zip(genomes, weights, strict=True):
        tuned.save(genome, own)
    return evolved(tmp_path, problem, genomes[:2], tuned), weights[:2]


def no_progress(*_: Any) -> None:
    pass


def test_the_parent_is_trained_on_for_the_frames_of_all_children(
    learnt: tuple[Evolved, list[dict[str, Tensor]]], tmp_path: Path
) -> None:
    problem = learnt[0].problem
    assert isinstance(problem, Learning)
    fitted = TrainedOn().fit(learnt[0], tmp_path, no_progress)
    assert problem.asked == 3
    assert fitted.about == {"label": "the parent trained on, 3,000 frames", "children": 3, "frames": 3000}
    assert predicts(fitted, -1, problem) and not predicts(fitted, -2, problem)
    assert fitted.also.keys() == {"averaged"} and predicts(fitted.also["averaged"], -2, problem)
    assert fitted.also["averaged"].about["label"] == "the mean of its last weights"


def predicts(fitted: Fitted, factor: float, problem: Learning) -> bool:
    """Whether it answers as the parent does with so many times its weights."""
    inputs, (make,) = problem.probe(8), fitted.parts
    return bool(torch.allclose(make()(inputs), problem.times(factor).predict(inputs)))


def test_one_child_is_the_best_and_has_the_frames_of_all(
    learnt: tuple[Evolved, list[dict[str, Tensor]]], tmp_path: Path
) -> None:
    own, problem = learnt[0], learnt[0].problem
    assert isinstance(problem, Learning)
    fitted = OneChild().fit(own, tmp_path, no_progress)
    assert problem.asked == 3 and problem.child == own.best and predicts(fitted, 3, problem)
    assert fitted.about == {"label": "one child, 3,000 frames", "key": own.best.key, "frames": 3000}


@pytest.mark.parametrize("method", [TrainedOn(), OneChild()])
def test_one_that_diverges_is_said_and_not_measured(
    method: TrainedOn | OneChild,
    learnt: tuple[Evolved, list[dict[str, Tensor]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Learning, "diverges", True)
    fitted = method.fit(learnt[0], tmp_path, no_progress)
    assert not fitted.parts and not fitted.also
    assert fitted.details({}) == {method.name: {"frames": 3000, "error": "the training has diverged"}}


def test_the_soup_is_one_network(learnt: tuple[Evolved, list[dict[str, Tensor]]], tmp_path: Path) -> None:
    own, weights = learnt
    (make,), inputs = Soup().fit(own, tmp_path, no_progress).parts, own.problem.probe(8)
    mean = {name: (weights[0][name] + weights[1][name]) / 2 for name in weights[0]}
    torch.testing.assert_close(make()(inputs), own.problem.parent.child(mean).predict(inputs))


def test_a_weight_is_the_mean_of_those_that_keep_it() -> None:
    """Of a mask's child and its anti-mask's each has half of the weights, and none of them is halved."""
    mask = torch.tensor([True, True, False, False, False])
    a, b = torch.tensor([1.0, 2.0, 0.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 3.0, 5.0, 0.0])
    assert mean_weights([{"w": a}, {"w": b}])["w"].tolist() == [1, 2, 3, 5, 0]
    third = torch.where(mask, 3.0, 0.0)
    assert mean_weights([{"w": a}, {"w": b}, {"w": third}])["w"].tolist() == [2, 2.5, 3, 5, 0]


@pytest.mark.parametrize("method", [TrainedOn(), OneChild(), Soup()])
def test_where_children_do_not_learn_by_play_there_is_nothing_to_compare(
    method: TrainedOn | OneChild | Soup, tmp_path: Path
) -> None:
    for problem, tuned in ((Learning(), None), (TinyFrames(), TunedWeights(tmp_path))):
        fitted = method.fit(evolved(tmp_path, problem, [Genome()], tuned), tmp_path, no_progress)
        assert not fitted.parts and fitted.details({}) == {}
