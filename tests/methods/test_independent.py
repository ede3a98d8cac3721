"""A deep ensemble's curve against a plain loop over all subsets, and where an ensemble comes to lie on it."""

from __future__ import annotations

from collections.abc import Generator
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss
from tiny import COUNT, FIRST
from tiny_run import TinyFrames, config, experiment
from torch import Tensor

from evoens import noise
from evoens.genome import Genome
from evoens.methods import independent
from evoens.methods.base import Evolved
from evoens.methods.independent import Independent, Point, curve, deep_ensemble_equivalent
from evoens.parent import Parent
from evoens.problem import Evaluation, Split
from evoens.progress import OnProgress
from evoens.strategy import Strategy
from evoens.tasks.data.images import Images

CLASSES, NETWORKS = 3, 4


def answers(n: int, seed: int) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, n)
    logits = rng.normal(0, 2, (NETWORKS, n, CLASSES)) + 2.5 * np.eye(CLASSES)[labels]
    return torch.softmax(torch.from_numpy(logits), -1), torch.from_numpy(labels)


def plain_nll(select: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], members: list[int]) -> float:
    def at(outputs: Tensor, labels: Tensor, t: float) -> float:
        logs = outputs[members].mean(0).log() / t
        return float(log_loss(labels, torch.softmax(logs, -1), labels=range(CLASSES)))

    t = minimize_scalar(lambda t: at(*select, t), bounds=(0.05, 20), method="bounded", options={"xatol": 1e-9}).x
    return at(*test, t)


def test_the_curve_is_the_mean_over_all_subsets() -> None:
    select, test = answers(150, 0), answers(300, 1)
    found = curve(select, test, seed=0)
    assert [point["networks"] for point in found] == [1, 2, 3, 4]
    for m, point in enumerate(found, 1):
        subsets = [list(s) for s in combinations(range(NETWORKS), m)]
        assert point["nll"] == pytest.approx(np.mean([plain_nll(select, test, s) for s in subsets]), rel=1e-6)
        right = [(test[0][s].mean(0).argmax(-1) == test[1]).double().mean() for s in subsets]
        assert point["accuracy"] == pytest.approx(np.mean(right))
    assert found[0]["nll"] > found[-1]["nll"]


def test_of_many_subsets_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(independent, "DRAWS", 2)
    select, test = answers(50, 0), answers(50, 1)
    assert curve(select, test, 3) == curve(select, test, 3) != curve(select, test, 4)


class Retrained(TinyFrames):
    """Has two further networks, in the folder that it is given."""

    def retrained(self, folder: Path, on_progress: OnProgress) -> list[Parent]:
        assert folder == Path("own")
        own = self.parent
        shifted = [{n: w + noise.normals(seed, n, w.shape) / 9 for n, w in own.weights.items()} for seed in (1, 2)]
        return [Parent.from_weights(own.architecture, weights) for weights in shifted]

    def answers(self, split: Split) -> Generator[Tensor, Tensor, Tensor]:
        first = FIRST[split.name]
        return (yield self.inputs[first : first + split.count])

    def part(self, split: Split) -> Images:
        place = slice(FIRST[split.name], FIRST[split.name] + split.count)
        return Images(self.inputs[place], torch.arange(split.count), self.labels[place])


def of(problem: TinyFrames, strategy: Strategy, members: list[Genome]) -> Evolved:
    found = {"members": members, "best": Genome(), "unselected": []}
    return Evolved(problem=problem, strategy=strategy, config=config(), device=torch.device("cpu"), **found)


def test_the_networks_of_a_problem_that_can_be_retrained_are_asked() -> None:
    problem = Retrained()
    strategy = experiment(config(), problem).strategy
    evolved = of(problem, strategy, [Genome()])
    fitted = Independent().fit(evolved, Path("own"), lambda _: None)
    assert not fitted.parts
    networks = [problem.parent, *problem.retrained(Path("own"), lambda _: None)]
    places = (slice(COUNT, 2 * COUNT), slice(2 * COUNT, 3 * COUNT))
    select, test = (
        (torch.stack([n.predict(problem.inputs[place]) for n in networks]), problem.labels[place]) for place in places
    )
    nll = torch.full((COUNT,), 0.4, dtype=torch.float64)
    found = fitted.details({"ensemble": Evaluation(nll, COUNT, {"calibrated_nll": nll})})
    points = curve(select, test, seed=5)
    assert found == {"independent": {"curve": points, "worth": deep_ensemble_equivalent(points, float(nll.mean()))}}


def test_a_problem_that_trains_none_has_nothing_to_say() -> None:
    evolved = of(TinyFrames(), experiment(config()).strategy, [])
    assert Independent().fit(evolved, Path("own"), lambda _: None).details({}) == {}


@pytest.mark.parametrize(
    ("nll", "networks", "bound"),
    [(1.2, 1.0, "at most"), (1.0, 1.0, "about"), (0.9, 1.5, "about"), (0.75, 2.5, "about"), (0.6, 3.0, "at least")],
)
def test_worth_by_hand(nll: float, networks: float, bound: str) -> None:
    points = [Point(networks=m, accuracy=0.5, nll=value, ece=0.1) for m, value in ((1, 1.0), (2, 0.8), (3, 0.7))]
    assert deep_ensemble_equivalent(points, nll) == {"networks": networks, "bound": bound}
