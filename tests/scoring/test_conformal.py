"""Conformal sets: hand-worked scores and quantiles, and the coverage that theory promises."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from evoens.errors import EvoensError
from evoens.scoring import conformal

P = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]], dtype=torch.float64)


def test_scores_of_a_hand_worked_case() -> None:
    torch.testing.assert_close(conformal.threshold(P)[0], torch.tensor([0.5, 0.7, 0.8], dtype=torch.float64))
    torch.testing.assert_close(conformal.aps(P)[0], torch.tensor([0.5, 0.8, 1.0], dtype=torch.float64))
    torch.testing.assert_close(conformal.raps(P)[0], torch.tensor([0.5, 0.81, 1.02], dtype=torch.float64))
    torch.testing.assert_close(conformal.aps(P)[1], torch.tensor([0.9, 1.0, 0.8], dtype=torch.float64))


@pytest.mark.parametrize(
    ("n", "coverage", "place"), [(9, 0.9, 9), (19, 0.9, 18), (100, 0.95, 96), (8, 0.9, None), (99, 0.99, 99)]
)
def test_the_quantile_is_that_of_one_case_more(n: int, coverage: float, place: int | None) -> None:
    scores = torch.arange(1, n + 1).flip(0)
    assert conformal.quantile(scores, coverage) == (math.inf if place is None else place)


@pytest.mark.parametrize("coverage", [0.0, 1.0, 90.0])
def test_no_coverage_is_refused(coverage: float) -> None:
    with pytest.raises(EvoensError, match="coverage: expected a number between 0 and 1"):
        conformal.quantile(torch.ones(3), coverage)


def drawn(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """A predictor that is too sure, and the classes as they come."""
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(n, 6, generator=generator)
    labels = torch.multinomial(logits.softmax(-1), 1, generator=generator)[:, 0]
    return (2 * logits).softmax(-1), labels


def scored(n: int, seed: int, method: str) -> tuple[Tensor, Tensor]:
    outputs, labels = drawn(n, seed)
    return conformal.SCORES[method](outputs), labels


@pytest.mark.parametrize("method", conformal.SCORES)
@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
def test_sets_hold_the_right_class_as_often_as_was_asked(method: str, coverage: float) -> None:
    """Over calibrations the coverage is a Beta's mean (Vovk 2012), whatever the predictor: within five errors here."""
    shares = []
    for seed in range(40):
        most = conformal.fitted(*scored(500, seed, method), coverage)
        scores, labels = scored(2000, 1000 + seed, method)
        held = (scores <= most).gather(1, labels[:, None])[:, 0]
        shares.append(float(held.double().mean()))
    k = math.ceil(501 * coverage)
    beta = stats.beta(k, 501 - k)
    error = math.sqrt((beta.var() + coverage * (1 - coverage) / 2000) / 40)
    assert abs(sum(shares) / 40 - beta.mean()) < 5 * error


def test_too_few_cases_give_sets_of_all_classes() -> None:
    assert conformal.fitted(*scored(5, 0, "aps"), 0.95) == math.inf


def test_a_share_has_its_exact_interval() -> None:
    share, low, high = conformal.proportion(torch.tensor([True] * 8 + [False] * 2))
    assert share == 0.8
    assert (low, high) == (pytest.approx(stats.beta.ppf(0.025, 8, 3)), pytest.approx(stats.beta.ppf(0.975, 9, 2)))
