"""Dominance, room and volume against their definitions, point by point."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evoens.scoring import pareto
from evoens.scoring.pareto import crowded_best, crowding, fronts, hypervolume

Points = list[tuple[int, ...]]


def points(most: int = 12) -> st.SearchStrategy[Points]:
    return st.integers(2, 4).flatmap(
        lambda d: st.lists(st.tuples(*[st.integers(-1, 4)] * d), min_size=1, max_size=most)
    )


def dominates(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    return all(x >= y for x, y in zip(a, b, strict=True)) and a != b


@given(points())
def test_fronts_are_peeled_off_one_after_the_other(values: Points) -> None:
    left, expected = list(range(len(values))), []
    while left:
        free = [i for i in left if not any(dominates(values[j], values[i]) for j in left)]
        expected.append(free)
        left = [i for i in left if i not in free]
    assert list(fronts(values)) == expected


def test_many_points_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).normal(size=(60, 3))
    whole = list(fronts(values))
    monkeypatch.setattr(pareto, "BLOCK", 1000)
    assert list(fronts(values)) == whole and len(whole) > 3


def test_room_is_the_sum_of_gaps_by_each_objective() -> None:
    """By hand: (1, 3) lies between (0, 4) and (3, 1), (3, 1) between (1, 3) and (4, 0)."""
    assert crowding([(3, 1), (0, 4), (1, 3), (4, 0)]).tolist() == [1.5, np.inf, 1.5, np.inf]
    assert crowding([(0, 2), (0, 2), (0, 2)]).tolist() == [0, 0, 0]
    assert crowding([(0, 7)]).tolist() == [0]


def test_the_best_come_by_front_then_by_room_then_as_they_stand() -> None:
    values = [(0, 0), (0, 10), (1, 8), (2, 7.9), (10, 0), (9, -1)]
    assert crowded_best(values, 6) == [1, 4, 3, 2, 0, 5]  # (2, 7.9) has room up to (10, 0), (0, 0) is dominated
    assert crowded_best(values, 3) == [1, 4, 3]


@given(points(7))
def test_the_volume_is_that_of_the_cells_that_are_dominated(values: Points) -> None:
    sides = len(values[0])
    expected = sum(
        any(all(x >= c + 1 for x, c in zip(point, cell, strict=True)) for point in values)
        for cell in itertools.product(range(4), repeat=sides)
    )
    assert hypervolume(values, [0] * sides) == pytest.approx(expected)


def test_the_volume_of_nothing_and_of_one_side() -> None:
    assert hypervolume([], [0.0, 0.0]) == 0
    assert hypervolume([[2.5], [3.0], [1.0]], [1.0]) == 2
