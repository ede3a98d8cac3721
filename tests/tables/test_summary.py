"""Means, paired differences and fronts, worked by hand or by NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from evoens.problem import Evaluation, Measure
from evoens.scoring.metrics import ece_of
from evoens.tables.cell import Cell, Cost
from evoens.tables.summary import Line, front, spread, summary

SCORE = Measure("accuracy", "accuracy", "accuracy")
ECE = Measure("ece", "ECE", "ECE", higher_is_better=False, statistic=ece_of)
COST = Cost(4.0, 1e9, 1e3, 100, 2.0, 1 << 20)


def cell(seed: int, shift: float = 0.0, cost: Cost = COST) -> Cell:
    rng = np.random.default_rng(seed)
    right = torch.from_numpy((rng.random(200) < 0.7 + shift).astype(np.float64))
    sure = torch.stack([torch.from_numpy(rng.random(200)), right], 1)
    return Cell(Evaluation(right, 200, {"ece": sure}), 3, cost, {"kl": float(seed)})


def lines() -> list[Line]:
    one = Line("one", "single", {}, {0: cell(0), 1: cell(1)})
    return [one, Line("two", "dense", {"members": 3}, {0: cell(0, 0.1), 1: cell(1, 0.1), 2: cell(2, 0.1)})]


def test_differences_are_paired_by_case_and_by_seed() -> None:
    one, two = summary(lines(), (SCORE, ECE), "one", 300, seed=3)
    pairs = [cell(s, 0.1).evaluation.cases.numpy() - cell(s).evaluation.cases.numpy() for s in (0, 1)]
    own = two["differences"]["accuracy"]
    assert own["score"] == pytest.approx(np.mean(pairs)) and own["seeds"] == 2 and own["n"] == 200
    assert own["sd"] == pytest.approx(np.std([pair.mean() for pair in pairs], ddof=1))
    rng = np.random.Generator(np.random.Philox(3))
    draws = rng.integers(0, 200, (300, 200))
    means = np.mean(pairs, axis=0)[draws].mean(1)
    assert own["ci95"] == pytest.approx(list(np.quantile(means, (0.025, 0.975))))
    assert one["differences"] == {} and two["diversity"] == {"kl": 1.0} and two["cost"]["epochs"] == 4
    assert two["scores"]["accuracy"]["values"] == [cell(s, 0.1).evaluation.score for s in range(3)]
    assert one["scores"]["ece"]["mean"] == pytest.approx(
        np.mean([ece_of(cell(s).evaluation.extra_metrics["ece"]).score for s in (0, 1)])
    )


def test_without_the_baseline_there_are_no_differences() -> None:
    (two,) = summary(lines()[1:], (SCORE,), "one", 100)
    assert two["differences"] == {} and two["scores"]["accuracy"]["sd"] is not None


def test_one_seed_has_no_spread() -> None:
    assert spread([0.5]) == {"mean": 0.5, "sd": None, "values": [0.5]}


def test_the_front_by_hand() -> None:
    def row(label: str, score: float, flops: float | None) -> dict[str, Any]:
        return {"label": label, "scores": {"nll": {"mean": score}}, "cost": {"answer_flops": flops}}

    rows = [row("a", 0.3, 10.0), row("b", 0.2, 20.0), row("c", 0.25, 30.0), row("d", 0.3, 9.0), row("e", 0.1, None)]
    low, high = ({"name": "nll", "higher_is_better": better} for better in (False, True))
    assert sorted(front(rows, low, "answer_flops")) == ["b", "d"] and front(rows, high, "answer_flops") == ["d"]
    assert front([row("e", 0.1, None)], low, "answer_flops") == []
