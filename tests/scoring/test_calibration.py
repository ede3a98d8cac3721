"""Calibration against scikit-learn, torchmetrics, SciPy and cases worked by hand."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from sklearn.metrics import log_loss
from torch import Tensor
from torchmetrics.functional.classification import multiclass_calibration_error

from evoens.errors import EvoensError, ShapeError
from evoens.scoring import calibration

FLOOR = 87.33654475055310898657  # −ln 2⁻¹²⁶, the smallest normal float32


def predictions(seed: int, n: int = 500, c: int = 10, sharpness: float = 2.0) -> tuple[Tensor, Tensor]:
    """Right more often than not, and as sure of themselves as `sharpness` makes them."""
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, c, (n,), generator=rng)
    logits = torch.randn(n, c, generator=rng)
    logits[torch.arange(n), labels] += 1.5
    return (logits * sharpness).softmax(-1), labels


def naive_ece(confidence: list[float], correct: list[float], bins: int) -> float:
    total = 0.0
    for b in range(bins):
        last = b == bins - 1
        inside = [i for i, p in enumerate(confidence) if b / bins <= p and (p < (b + 1) / bins or last)]
        if inside:
            accuracy = math.fsum(correct[i] for i in inside) / len(inside)
            total += abs(accuracy - math.fsum(confidence[i] for i in inside) / len(inside)) * len(inside)
    return total / len(confidence)


def test_nll_agrees_with_scikit_learn() -> None:
    p, labels = predictions(0)
    ours = calibration.nll(p, labels)
    assert ours.dtype == torch.float64 and ours.shape == (500,)
    double = p.double() / p.double().sum(-1, keepdim=True)
    assert float(calibration.nll(double, labels).mean()) == pytest.approx(log_loss(labels, double), rel=1e-13)
    assert float(ours.mean()) == pytest.approx(log_loss(labels, double), rel=1e-6)


def test_nll_of_a_sure_and_wrong_answer_is_finite() -> None:
    p = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.25, 0.75]])
    expected = pytest.approx([0.0, FLOOR, -math.log(0.75)], rel=1e-12)
    assert calibration.nll(p, torch.tensor([0, 1, 1])).tolist() == expected
    assert calibration.nll(p.double(), torch.tensor([0, 1, 1])).tolist() == expected


def test_correct_and_confidence_by_hand() -> None:
    p = torch.tensor([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75], [0.5, 0.5, 0.0]])
    assert calibration.correct(p, torch.tensor([0, 0, 0])).tolist() == [1.0, 0.0, 1.0]
    assert calibration.confidence(p).tolist() == [0.5, 0.75, 0.5]
    assert calibration.correct(p, torch.tensor([0, 0, 0])).dtype == calibration.confidence(p).dtype == torch.float64


@pytest.mark.parametrize("bins", [1, 10, 15, 49])
@pytest.mark.parametrize("seed", range(4))
def test_ece_agrees_with_torchmetrics(seed: int, bins: int) -> None:
    p, labels = predictions(seed, sharpness=1.0 + 2 * seed)
    theirs = multiclass_calibration_error(p.clamp_max(1 - 2**-24), labels, 10, bins, norm="l1")
    ours = calibration.ece(calibration.confidence(p), calibration.correct(p, labels), bins)
    assert ours == pytest.approx(float(theirs), abs=1e-6)


def test_a_confidence_of_exactly_one_belongs_to_the_last_bin() -> None:
    # the last bin holds .95 and 1, one of the two right: |.5 − .975|; the first holds 0, wrong: no gap
    assert calibration.ece([0.95, 1.0, 0.0], [1, 0, 0], 15) == pytest.approx(2 / 3 * 0.475)
    rows = calibration.calibration_rows(torch.tensor([0.95, 1.0, 0.0]), torch.tensor([1, 0, 0]))
    assert (rows[14].count, rows[0].count, sum(row.count for row in rows)) == (2, 1, 3)


def test_an_edge_belongs_to_the_bin_above() -> None:
    for bins in (3, 10, 15, 49):
        edges = [b / bins for b in range(bins)]
        assert [row.count for row in calibration.calibration_rows(edges, edges, bins)] == [1] * bins


def test_calibration_rows_by_hand() -> None:
    rows = calibration.calibration_rows([0.5, 0.75, 1.0, 0.25], [1, 0, 1, 0], bins=4)
    plain = [(r.low, r.high, r.count, r.confidence, r.accuracy) for r in rows]
    assert plain == [
        (0.0, 0.25, 0, None, None),
        (0.25, 0.5, 1, 0.25, 0.0),
        (0.5, 0.75, 1, 0.5, 1.0),
        (0.75, 1.0, 2, 0.875, 0.5),
    ]


cases = st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=60)


@given(cases, st.integers(1, 20))
@settings(deadline=None, max_examples=200)
def test_ece_is_what_its_definition_says(pairs: list[tuple[float, int]], bins: int) -> None:
    sure, right = [p for p, _ in pairs], [float(y) for _, y in pairs]
    value = calibration.ece(sure, right, bins)
    assert value == pytest.approx(naive_ece(sure, right, bins), abs=1e-12)
    rows = calibration.calibration_rows(sure, right, bins)
    weighted = sum(r.count * abs(r.accuracy - r.confidence) for r in rows if r.accuracy is not None)
    assert weighted / len(pairs) == pytest.approx(value, abs=1e-12)
    assert [r.high for r in rows[:-1]] == [r.low for r in rows[1:]] and sum(r.count for r in rows) == len(pairs)


@pytest.mark.parametrize("sharpness", [0.2, 0.7, 1.0, 2.0, 4.0, 9.0])
def test_temperature_agrees_with_scipy(sharpness: float) -> None:
    p, labels = predictions(1, sharpness=sharpness)
    logs = p.double().clamp_min(calibration.TINY).log().numpy()

    def slope(beta: float) -> float:
        weights = np.exp(beta * logs)
        mean = (weights * logs).sum(1) / weights.sum(1)
        return float((mean - logs[np.arange(len(logs)), labels.numpy()]).mean())

    t = calibration.temperature(p, labels)
    assert t == pytest.approx(1 / brentq(slope, 0.05, 20, xtol=1e-15, rtol=1e-14), rel=1e-11)
    found = minimize_scalar(
        lambda log_t: float(calibration.nll(calibration.tempered(p, math.exp(log_t)), labels).mean()),
        bounds=(math.log(0.05), math.log(20)),
        method="bounded",
        options={"xatol": 1e-10},
    )
    assert t == pytest.approx(math.exp(found.x), rel=1e-6)
    assert calibration.calibrated_nll(p, labels) == pytest.approx(found.fun, rel=1e-12)


def test_temperature_by_hand() -> None:
    # two classes, each case sure of the first by p, right in three of four: p^(1/T) / (p^(1/T) + q^(1/T)) = 3/4
    p = torch.tensor([[0.9, 0.1]] * 4, dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1])
    assert calibration.temperature(p, labels) == pytest.approx(math.log(9) / math.log(3), rel=1e-14)
    assert calibration.tempered(p, 2.0)[0].tolist() == pytest.approx([0.75, 0.25], rel=1e-14)
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert calibration.calibrated_nll(p, labels) == pytest.approx(entropy, rel=1e-14)


def test_temperature_undoes_a_temperature() -> None:
    p, labels = predictions(2, sharpness=1.0)
    p = p.double()
    t = calibration.temperature(p, labels)
    for own in (0.25, 0.5, 2.0, 3.0):
        assert calibration.temperature(calibration.tempered(p, own), labels) == pytest.approx(t / own, rel=1e-9)
        again = calibration.calibrated_nll(calibration.tempered(p, own), labels)
        assert again == pytest.approx(calibration.calibrated_nll(p, labels), rel=1e-12)


@given(st.integers(0, 10_000), st.floats(0.05, 60), st.floats(0, 1), st.integers(1, 40), st.integers(2, 12))
@settings(deadline=None, max_examples=150)
def test_no_temperature_is_better(seed: int, sharpness: float, skill: float, n: int, c: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, c, (n,), generator=rng)
    logits = torch.randn(n, c, generator=rng, dtype=torch.float64)
    logits[torch.arange(n), labels] += 3 * skill
    p = (sharpness * logits).softmax(-1)
    t, best = calibration.temperature(p, labels), calibration.calibrated_nll(p, labels)
    assert 0.05 <= t <= 20
    assert float(calibration.nll(calibration.tempered(p, t), labels).mean()) == pytest.approx(best, rel=1e-9, abs=1e-9)
    for other in (0.05, 0.9 * t, t * (1 + 1e-4), t * (1 - 1e-4), 1.1 * t, 1.0, 20.0):
        if 0.05 <= other <= 20:
            worse = float(-torch.log_softmax(p.clamp_min(calibration.TINY).log() / other, -1)[range(n), labels].mean())
            assert best <= worse + 1e-12 * max(1.0, worse)


@pytest.mark.parametrize("margin", [0.1, 1.0, 5.0, 20.0, 80.0])
def test_temperature_stays_in_its_range(margin: float) -> None:
    p = torch.zeros(100, 10, dtype=torch.float64)
    p[:, 0] = margin
    p = p.softmax(-1)
    assert calibration.temperature(p, torch.zeros(100, dtype=torch.long)) == 0.05
    assert calibration.temperature(p, torch.ones(100, dtype=torch.long)) == 20.0


@pytest.mark.parametrize("margin", [0.1, 1.0, 5.0, 20.0, 80.0])
def test_temperature_is_found_however_far_the_first_step_goes(margin: float) -> None:
    p = torch.zeros(100, 10, dtype=torch.float64)
    p[:, 0] = margin
    labels = torch.zeros(100, dtype=torch.long)
    labels[0] = 1  # one in a hundred wrong: at the best T, e^(m/T) = 99 · 9
    expected = min(max(margin / math.log(99 * 9), 0.05), 20.0)
    assert calibration.temperature(p.softmax(-1), labels) == pytest.approx(expected, rel=1e-9)


def test_temperature_where_it_changes_nothing_or_is_no_number() -> None:
    even = torch.full((6, 4), 0.25)
    labels = torch.zeros(6, dtype=torch.long)
    assert calibration.temperature(even, labels) == 1.0
    assert calibration.calibrated_nll(even, labels) == pytest.approx(math.log(4))
    assert math.isnan(calibration.temperature(even * math.nan, labels))
    assert math.isnan(calibration.calibrated_nll(even * math.nan, labels))


def test_temperature_depends_on_its_arguments_only() -> None:
    p, labels = predictions(3)
    assert calibration.temperature(p, labels) == calibration.temperature(p.clone(), labels.clone())
    assert calibration.temperature(p.half(), labels.int()) == pytest.approx(calibration.temperature(p, labels), 1e-2)


def test_tempered_keeps_zeros_harmless_and_one_at_rest() -> None:
    sure = torch.tensor([[1.0, 0.0, 0.0]])
    for t in (0.05, 1.0, 20.0):
        row = calibration.tempered(sure, t)
        assert row.dtype == torch.float64 and bool(torch.isfinite(row).all()) and float(row.sum()) == pytest.approx(1)
        assert row[0, 1] == pytest.approx(math.exp(-FLOOR / t) / (1 + 2 * math.exp(-FLOOR / t)))
    p, _ = predictions(4)
    assert torch.allclose(calibration.tempered(p, 1.0), p.double(), rtol=1e-6, atol=0)


def test_tempered_flattens_as_it_gets_warmer_and_keeps_the_order() -> None:
    p, _ = predictions(5, sharpness=1.0)
    warmer = [calibration.tempered(p, t) for t in (0.5, 1.0, 2.0, 8.0)]
    assert all((a.amax(-1) > b.amax(-1)).all() and (a.argmax(-1) == b.argmax(-1)).all() for a, b in pairwise(warmer))


@pytest.mark.parametrize("t", [0.0, -1.0, math.nan, math.inf])
def test_tempered_refuses_what_is_no_temperature(t: float) -> None:
    with pytest.raises(EvoensError, match="above 0"):
        calibration.tempered(torch.full((2, 2), 0.5), t)


def test_other_shapes_are_refused() -> None:
    p, labels = torch.full((3, 2), 0.5), torch.tensor([0, 1, 1])
    for measure in (calibration.nll, calibration.correct, calibration.temperature, calibration.calibrated_nll):
        with pytest.raises(ShapeError, match=r"expected shapes \(n, c\) and \(n,\).*found \(3, 2\) and \(2,\)"):
            measure(p, labels[:2])
        with pytest.raises(ShapeError, match="expected classes 0 to 1, found 0 to 2"):
            measure(p, torch.tensor([0, 1, 2]))
    with pytest.raises(ShapeError, match="n ≥ 1"):
        calibration.temperature(p[:0], labels[:0])
    with pytest.raises(ShapeError, match=r"found \(2,\) and \(3,\)"):
        calibration.ece([0.5, 0.5], [1, 1, 1])
    with pytest.raises(ShapeError, match="n ≥ 1"):
        calibration.calibration_rows([], [])
