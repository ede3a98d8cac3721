"""The σ search against a curve whose answer is known."""

from __future__ import annotations

import pytest

from evoens.trust_region import Row, choose


def quadratic(grid: list[float]) -> list[Row]:
    return [Row(sigma=s, kl=50 * s**2, kl_range=(0.0, 1.0), agreement=1.0) for s in grid]


def test_between_grid_points_the_square_law_gives_the_exact_sigma() -> None:
    assert choose(quadratic([0.005, 0.01, 0.04, 0.08]), 0.02) == pytest.approx(0.02, rel=1e-3)


def test_a_target_beyond_the_grid_gives_its_end() -> None:
    assert choose(quadratic([0.001, 0.002]), 0.02) == 0.002
    assert choose(quadratic([0.1, 0.2]), 0.02) == 0.1


def test_a_dip_after_the_target_is_not_used() -> None:
    rows = quadratic([0.01, 0.03, 0.05])
    rows[2]["kl"] = 0.001
    assert 0.01 < choose(rows, 0.02) < 0.03
