"""Subsets of a pool: what is known of each, and how far diversity tells what it gains."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from evoens.analysis import subsets
from evoens.analysis.subsets import Subsets, correlations, greedy, subsets_of
from evoens.diversity.outputs import pairwise_disagreement


def pool_of(members: int, cases: int = 300, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(classes, (cases,), generator=generator)
    own = torch.randn(members, cases, classes, generator=generator) * torch.linspace(1, 3, members)[:, None, None]
    return (own + 3 * torch.eye(classes)[labels]).softmax(-1), labels


@pytest.fixture(scope="module")
def triples() -> Subsets:
    outputs, labels = pool_of(8)
    pairs = {"disagreement": pairwise_disagreement(outputs, outputs)}
    alone = {"weights": [float(10 * i) for i in range(8)]}
    return subsets_of(outputs, labels, 3, seed=0, pairs=pairs, alone=alone)


def test_every_triple_has_the_means_of_its_pairs_and_of_its_members(triples: Subsets) -> None:
    outputs, labels = pool_of(8)
    answers = outputs.argmax(-1)
    assert triples.members.tolist() == [list(three) for three in combinations(range(8), 3)]
    for place, three in enumerate(combinations(range(8), 3)):
        apart = [float((answers[i] != answers[j]).double().mean()) for i, j in combinations(three, 2)]
        assert triples.traits["disagreement"][place] == pytest.approx(np.mean(apart))
        assert triples.traits["weights"][place] == pytest.approx(10 * np.mean(three))
        right = [float((answers[i] == labels).double().mean()) for i in three]
        assert triples.traits["accuracy"][place] == pytest.approx(np.mean(right))
        mean = float((outputs[list(three)].mean(0).argmax(-1) == labels).double().mean())
        assert triples.improvements["mean"][place] == pytest.approx(mean - max(right), abs=1e-6)


def test_correlations_are_scipys_with_the_jackknifes_error(triples: Subsets) -> None:
    found = correlations(triples, "mean", 8)
    gain, values = triples.improvements["mean"], triples.traits["accuracy"]
    assert found["accuracy"]["score"] == pytest.approx(stats.spearmanr(values, gain).statistic)
    left = []
    for member in range(8):
        own = [place for place, three in enumerate(combinations(range(8), 3)) if member not in three]
        left.append(stats.spearmanr(values[own], gain[own]).statistic)
    error = np.sqrt(7 / 8 * np.sum((np.array(left) - np.mean(left)) ** 2))
    low, high = found["accuracy"]["ci95"]
    expected = found["accuracy"]["score"]
    assert low == pytest.approx(max(-1, expected - 1.96 * error)) and high == pytest.approx(
        min(1, expected + 1.96 * error)
    )


def test_a_trait_that_all_share_tells_nothing(triples: Subsets) -> None:
    flat = Subsets(triples.members, triples.scores, {"flat": np.ones(len(triples.members))})
    assert correlations(flat, "vote", 8)["flat"] == {"score": None, "ci95": None}


def test_of_too_many_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subsets, "MOST", 10)
    outputs, labels = pool_of(8)
    found = subsets_of(outputs, labels, 4, seed=0, pairs={}, alone={})
    assert found.members.shape == (10, 4) and found.scores.nll.shape == (10,)


def test_greedy_takes_the_best_first_and_nobody_twice() -> None:
    outputs, labels = pool_of(6)
    nll = [float(-member[range(len(labels)), labels].log().mean()) for member in outputs]
    chosen = greedy(outputs, labels, 4)
    assert chosen[0] == int(np.argmin(nll)) and len(set(chosen)) == 4
    after = {
        other: float(-(outputs[chosen[0]] + outputs[other])[range(len(labels)), labels].div(2).log().mean())
        for other in range(6)
        if other != chosen[0]
    }
    assert chosen[1] == min(after, key=lambda other: after[other])
