from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.metrics import matthews_corrcoef
from torch import Tensor

from evoens.diversity.correctness import (
    Shares,
    correctness_correlation,
    correctness_disagreement,
    double_fault,
    q_statistic,
    shares,
)
from evoens.errors import ShapeError

Measure = Callable[[Shares], Tensor]
MEASURES = [correctness_disagreement, double_fault, q_statistic, correctness_correlation]


def right(k: int = 5, n: int = 40) -> Tensor:
    return torch.rand(k, n, generator=torch.Generator().manual_seed(0)) < 0.7


def of_one_set(rows: list[list[int]]) -> Shares:
    members = torch.tensor(rows, dtype=torch.bool)
    return shares(members, members)


def test_four_shares_by_hand() -> None:
    # cases:              both   i only  j only  neither
    i, j = [1, 1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 0, 0, 1, 0, 0]
    s = of_one_set([i, j])
    assert [float(part[0, 1]) for part in (s.both, s.first, s.second, s.neither)] == [3 / 8, 2 / 8, 1 / 8, 2 / 8]
    assert float(correctness_disagreement(s)[0, 1]) == 3 / 8
    assert float(double_fault(s)[0, 1]) == 2 / 8
    assert float(q_statistic(s)[0, 1]) == (3 * 2 - 2 * 1) / (3 * 2 + 2 * 1)
    assert float(correctness_correlation(s)[0, 1]) == pytest.approx((3 * 2 - 2 * 1) / (5 * 3 * 4 * 4) ** 0.5)


def test_rho_is_matthews_correlation_of_being_right() -> None:
    rows = right()
    expected = [[matthews_corrcoef(a, b) for b in rows.numpy()] for a in rows.numpy()]
    assert correctness_correlation(shares(rows, rows)).numpy() == pytest.approx(np.array(expected), abs=1e-9)


def test_shares_are_counts_over_cases() -> None:
    rows = right()
    other = rows.flip(1)
    s, a, b = shares(rows, other), rows.numpy()[:, None], other.numpy()[None]
    for part, counted in ((s.both, a & b), (s.first, a & ~b), (s.second, ~a & b), (s.neither, ~a & ~b)):
        assert part.numpy() == pytest.approx(counted.mean(-1))


@pytest.mark.parametrize("measure", MEASURES)
def test_symmetric_whatever_the_order_of_members(measure: Measure) -> None:
    rows, order = right(), torch.tensor([2, 0, 4, 3, 1])
    found = measure(shares(rows, rows))
    assert torch.allclose(found, found.T)
    assert torch.allclose(measure(shares(rows[order], rows[order])), found[order][:, order])


def test_members_that_never_differ() -> None:
    s = of_one_set([[1, 1, 0], [1, 1, 0]])
    assert torch.equal(correctness_disagreement(s), torch.zeros(2, 2, dtype=torch.float64))
    assert torch.allclose(q_statistic(s), torch.ones(2, 2, dtype=torch.float64))
    assert torch.allclose(correctness_correlation(s), torch.ones(2, 2, dtype=torch.float64))


def test_where_nothing_tells_how_two_hang_together() -> None:
    always, never, mixed = [1, 1, 1], [0, 0, 0], [1, 1, 0]
    s = of_one_set([always, always, never, mixed])
    for found in (q_statistic(s), correctness_correlation(s)):
        assert found[0].tolist() == [1.0, 1.0, 0.0, 0.0]
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("rows", [torch.ones(2, 3), torch.ones(3, dtype=torch.bool), torch.ones(2, 0).bool()])
def test_wrong_shapes(rows: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"right: expected two bool \(k, n\)"):
        shares(rows, rows)


def test_both_sides_are_of_one_shape() -> None:
    with pytest.raises(ShapeError, match=r"found torch.bool \(5, 39\)"):
        shares(right(), right()[:, 1:])
