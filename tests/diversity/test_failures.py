"""Failing together: hand-worked cases, and every pair counted one by one."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from evoens.diversity.failures import coincidence, pairwise_coincidence
from evoens.errors import ShapeError


def test_members_that_fail_on_the_same_cases_fail_together_more_often_than_by_chance() -> None:
    """Each fails on one of four cases, the same: together in a quarter, by chance in a sixteenth."""
    same = np.array([[True, False, False, False]] * 3)
    assert coincidence(same).score == pytest.approx(4.0)


def test_members_that_fail_on_different_cases_never_do() -> None:
    assert coincidence(np.eye(3, dtype=bool)).score == 0.0


def test_members_that_fail_independently_fail_together_as_by_chance() -> None:
    wrong = np.random.default_rng(0).random((5, 200_000)) < np.array([0.1, 0.2, 0.3, 0.4, 0.5])[:, None]
    assert coincidence(wrong).score == pytest.approx(1.0, abs=0.02)


def test_it_is_the_ratio_of_means_over_pairs_of_any_draw_of_cases() -> None:
    rng = np.random.default_rng(1)
    wrong = rng.random((4, 30)) < 0.4
    draws = rng.integers(0, 30, (5, 30))
    expected = []
    for places in draws:
        drawn = wrong[:, places]
        together = [np.mean(drawn[i] & drawn[j]) for i, j in combinations(range(4), 2)]
        chance = [drawn[i].mean() * drawn[j].mean() for i, j in combinations(range(4), 2)]
        expected.append(np.mean(together) / np.mean(chance))
    np.testing.assert_allclose(coincidence(wrong).of(draws), expected)


def test_where_nobody_fails_nothing_is_said() -> None:
    assert np.isnan(coincidence(np.zeros((2, 5), bool)).score)


def test_each_pair_by_itself() -> None:
    wrong = torch.tensor([[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]).bool()
    found = pairwise_coincidence(~wrong)
    assert found[0, 1] == pytest.approx(1 / 4 / (1 / 2 * 1 / 2)) == found[1, 0] and found[2].isnan().all()


@pytest.mark.parametrize("shape", [(1, 5), (2, 0), (4,)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"wrong: expected shape \(k, n\)"):
        coincidence(np.zeros(shape, bool))
