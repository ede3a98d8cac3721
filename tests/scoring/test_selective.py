"""Risk over coverage: counted by hand, and case by case."""

from __future__ import annotations

import pytest
import torch

from evoens.scoring.selective import augrc, aurc, coverage_at, risks

SURE = torch.tensor([0.9, 0.5, 0.8, 0.7])
RIGHT = torch.tensor([1.0, 0.0, 1.0, 0.0])


def test_a_hand_worked_case() -> None:
    assert risks(SURE, RIGHT).tolist() == pytest.approx([0, 0, 1 / 3, 2 / 4])
    assert aurc(SURE, RIGHT) == pytest.approx((1 / 3 + 1 / 2) / 4)
    assert augrc(SURE, RIGHT) == pytest.approx((1 / 4 + 2 / 4) / 4)


def test_who_is_equally_sure_of_all_has_its_error_at_every_coverage() -> None:
    flat = torch.full((4,), 0.5)
    assert risks(flat, RIGHT).tolist() == pytest.approx([0.5] * 4)
    assert aurc(flat, RIGHT) == pytest.approx(0.5) and augrc(flat, RIGHT) == pytest.approx(0.5 * 2.5 / 4)


def test_the_order_of_cases_says_nothing() -> None:
    generator = torch.Generator().manual_seed(0)
    sure, right = torch.randint(5, (50,), generator=generator) / 4, torch.randint(2, (50,), generator=generator)
    order = torch.randperm(50, generator=generator)
    assert aurc(sure[order], right[order]) == pytest.approx(aurc(sure, right))


@pytest.mark.parametrize(("risk", "expected"), [(0.0, 0.5), (0.34, 0.75), (0.5, 1.0)])
def test_coverage_at_a_risk(risk: float, expected: float) -> None:
    assert coverage_at(SURE, RIGHT, risk) == expected


def test_none_is_covered_where_the_surest_is_wrong() -> None:
    assert coverage_at(torch.tensor([0.9]), torch.tensor([0.0])) == 0
