"""Subsets of a pool, against the mean and the vote of each worked out by themselves."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor

from evoens.errors import ShapeError
from evoens.scoring import subsets
from evoens.scoring.subsets import Pool, all_subsets, drawn_subsets


def pool_of(members: int, cases: int, classes: int, seed: int = 0, spread: float = 2.0) -> tuple[Tensor, Tensor]:
    """Members that mostly agree, and are right more often than not."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, (cases,), generator=generator)
    shared = torch.randn(cases, classes, generator=generator) + 3 * torch.eye(classes)[labels]
    own = spread * torch.randn(members, cases, classes, generator=generator)
    return (shared + own).softmax(-1), labels


def plain(outputs: Tensor, labels: Tensor, subset: tuple[int, ...]) -> tuple[float, float, float, float]:
    """Accuracy, NLL, the chance that a vote is right, and improvement of one subset, in float64."""
    some = outputs.double()[list(subset)]
    mean = some.mean(0)
    accuracy = float((mean.argmax(-1) == labels).double().mean())
    nll = float(-mean[range(len(labels)), labels].log().mean())
    chances = []
    for case, label in enumerate(labels.tolist()):
        votes = torch.bincount(some[:, case].argmax(-1), minlength=outputs.shape[2]).tolist()
        chances.append(1 / votes.count(max(votes)) if votes[label] == max(votes) else 0.0)
    best = max(float((member.argmax(-1) == labels).double().mean()) for member in some)
    return accuracy, nll, sum(chances) / len(chances), accuracy - best


@pytest.mark.parametrize(("classes", "spread"), [(2, 2.0), (10, 2.0), (10, 0.1), (10, 6.0), (50, 4.0)])
@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_every_subset_reaches_what_it_reaches_by_itself(classes: int, spread: float, size: int) -> None:
    outputs, labels = pool_of(7, 80, classes, spread=spread)
    every = list(all_subsets(7, size))
    found = Pool(outputs, labels).score(every)
    expected = torch.tensor([plain(outputs, labels, subset) for subset in every], dtype=torch.float64)
    for column, own in enumerate((found.accuracy, found.nll, found.vote, found.improvement)):
        torch.testing.assert_close(own, expected[:, column], atol=1e-6, rtol=1e-5)


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs, labels = pool_of(6, 50, 4)
    every = list(all_subsets(6, 3))
    whole = Pool(outputs, labels).score(every)
    monkeypatch.setattr(subsets, "CHUNK", 3)
    parts = Pool(outputs, labels).score(every)
    torch.testing.assert_close(parts.nll, whole.nll)
    assert torch.equal(parts.accuracy, whole.accuracy) and torch.equal(parts.vote, whole.vote)


def test_no_subset_is_no_score() -> None:
    assert Pool(*pool_of(3, 5, 2)).score([]).accuracy.shape == (0,)


def test_few_subsets_are_all_and_many_are_drawn() -> None:
    assert drawn_subsets(5, 3, 10, seed=0) == list(combinations(range(5), 3))
    some = drawn_subsets(40, 8, 100, seed=1)
    assert len(set(some)) == 100 and all(len(set(subset)) == 8 and list(subset) == sorted(subset) for subset in some)
    assert some == drawn_subsets(40, 8, 100, seed=1) != drawn_subsets(40, 8, 100, seed=2)


def test_what_does_not_fit_is_refused() -> None:
    outputs, labels = pool_of(3, 5, 2)
    with pytest.raises(ShapeError, match=r"expected outputs \(m, n, c\) and labels \(n,\)"):
        Pool(outputs, labels[:4])
