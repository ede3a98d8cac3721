"""A deep ensemble's curve against a plain loop over all subsets, and where an ensemble comes to lie on it."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss
from torch import Tensor

from evoens.tasks import independent
from evoens.tasks.independent import Point, curve, worth

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


@pytest.mark.parametrize(
    ("nll", "networks", "bound"),
    [(1.2, 1.0, "at most"), (1.0, 1.0, "about"), (0.9, 1.5, "about"), (0.75, 2.5, "about"), (0.6, 3.0, "at least")],
)
def test_worth_by_hand(nll: float, networks: float, bound: str) -> None:
    points = [Point(networks=m, accuracy=0.5, nll=value, ece=0.1) for m, value in ((1, 1.0), (2, 0.8), (3, 0.7))]
    assert worth(points, nll) == {"networks": networks, "bound": bound}
