from __future__ import annotations

import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import balanced_accuracy_score

from evoens.errors import ShapeError
from evoens.scoring import metrics
from evoens.scoring.calibration import ece
from evoens.scoring.metrics import (
    Interval,
    Statistic,
    balanced_of,
    bootstrap,
    confidence_bins,
    difference,
    ece_of,
    mean_of,
    reliability,
    spearman,
)


def mean_interval(cases: object, resamples: int = 2000, seed: int = 0) -> Interval:
    return bootstrap(mean_of(cases), resamples, seed)  # type: ignore[arg-type]


def returns(seed: int, n: int = 120) -> np.ndarray:
    return np.random.default_rng(seed).gamma(2.0, 5.0, n)


def test_interval_agrees_with_scipy() -> None:
    x = returns(1)
    ours = mean_interval(x, resamples=20_000, seed=3)
    theirs = stats.bootstrap(
        (x,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(4)
    ).confidence_interval
    assert ours.score == pytest.approx(x.mean()) and ours.n == 120
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=0.01)


def test_interval_covers_the_true_mean_about_95_times_in_100() -> None:
    covered = sum((i := mean_interval(returns(s, 60), 500, s)).low <= 10.0 <= i.high for s in range(400))
    assert 360 <= covered <= 392


def test_interval_depends_on_the_seed_only() -> None:
    x = returns(2)
    assert mean_interval(x, seed=7) == mean_interval(x, seed=7) != mean_interval(x, seed=8)


def test_interval_of_equal_cases_has_no_width() -> None:
    assert mean_interval([4.0, 4.0, 4.0]).to_json() == {"score": 4.0, "ci95": [4.0, 4.0], "n": 3}


@pytest.mark.parametrize("cases", [[], [[1.0, 2.0]]])
def test_interval_refuses_other_shapes(cases: list[object]) -> None:
    with pytest.raises(ShapeError, match=r"expected shape \(n,\)"):
        mean_interval(cases)


def test_pairing_cancels_what_the_cases_share() -> None:
    levels, noise = returns(3) * 4, np.random.default_rng(5).normal(0, 0.5, 120)
    paired = bootstrap(difference(mean_of(levels + 1 + noise), mean_of(levels)))
    assert paired.score == pytest.approx(1 + noise.mean())
    assert paired.low > 0.8
    apart = mean_interval(levels)
    assert paired.high - paired.low < (apart.high - apart.low) / 10


def test_pairing_refuses_other_cases() -> None:
    with pytest.raises(ShapeError, match="found 2 and 3 of them"):
        difference(mean_of([1.0, 2.0]), mean_of([1.0, 2.0, 3.0]))


def all_at_once(cases: np.ndarray, resamples: int, seed: int) -> tuple[float, float, float]:
    draws = np.random.Generator(np.random.Philox(seed)).integers(0, cases.size, (resamples, cases.size))
    low, high = np.quantile(cases[draws].mean(axis=1), (0.025, 0.975))
    return float(cases.mean()), float(low), float(high)


@pytest.mark.parametrize(
    ("n", "resamples"), [(1, 50), (2, 7), (60, 500), (120, 2000), (333, 2000), (4097, 129), (70_001, 9), (300_000, 3)]
)
def test_drawing_a_few_resamples_at_a_time_changes_no_bit(n: int, resamples: int) -> None:
    x = returns(n, n)
    found = mean_interval(x, resamples, seed=n)
    assert (found.score, found.low, found.high) == all_at_once(x, resamples, n)


@given(st.integers(1, 40), st.integers(1, 60), st.integers(1, 400))
@settings(deadline=None, max_examples=60)
def test_the_size_of_a_draw_changes_no_bit(n: int, resamples: int, chunk: int) -> None:
    x = returns(n, n)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "CHUNK", chunk)
        found = mean_interval(x, resamples, seed=3)
    assert (found.score, found.low, found.high) == all_at_once(x, resamples, 3)


def test_memory_does_not_grow_with_the_resamples() -> None:
    rows = np.random.default_rng(0).uniform(size=(40_000, 2))
    for measure in (lambda: mean_interval(rows[:, 0], 40), lambda: bootstrap(ece_of(rows), 40)):
        tracemalloc.start()
        measure()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 24e6  # all 40 at once: 13 MB of places, as much of cases, and so on


def test_bootstrap_takes_any_statistic() -> None:
    x = returns(12)
    middle = bootstrap(Statistic(120, lambda places: np.median(x[places], axis=1)), 2000, 5)
    draws = np.random.Generator(np.random.Philox(5)).integers(0, 120, (2000, 120))
    expected = np.quantile([np.median(x[row]) for row in draws], (0.025, 0.975))
    assert (middle.score, middle.low, middle.high) == (np.median(x), *expected)


def answers(seed: int, n: int, too_sure: float = 0.0) -> np.ndarray:
    """Confidence and correct of `n` cases; by `too_sure` the confidence is above the chance of being right."""
    rng = np.random.default_rng(seed)
    chance = rng.uniform(0.3, 1, n)
    return np.stack([np.minimum(chance + too_sure, 1), rng.uniform(size=n) < chance], axis=1)


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_ece_s_interval_is_a_plain_loop_over_resamples(bins: int) -> None:
    rows = answers(0, 200, 0.1)
    found = bootstrap(ece_of(rows, bins), 300, seed=4)
    draws = np.random.Generator(np.random.Philox(4)).integers(0, 200, (300, 200))
    expected = np.quantile([ece(*rows[row].T, bins) for row in draws], (0.025, 0.975))
    assert found.score == ece(*rows.T, bins) and found.n == 200
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-12)


def test_a_difference_of_ece_is_a_plain_loop_over_the_same_resamples() -> None:
    a, b = answers(1, 200), answers(1, 200, 0.1)
    found = bootstrap(difference(ece_of(a), ece_of(b)), 300, seed=4)
    draws = np.random.Generator(np.random.Philox(4)).integers(0, 200, (300, 200))
    expected = np.quantile([ece(*a[row].T) - ece(*b[row].T) for row in draws], (0.025, 0.975))
    assert found.score == ece(*a.T) - ece(*b.T)
    assert (found.low, found.high) == pytest.approx(tuple(expected), rel=1e-9)
    back = bootstrap(difference(ece_of(b), ece_of(a)), 300, seed=4)
    assert (back.score, back.low, back.high) == pytest.approx((-found.score, -found.high, -found.low))


def test_a_difference_of_ece_tells_a_better_calibrated_predictor_and_nothing_from_itself() -> None:
    good, bad = answers(2, 4000), answers(2, 4000, 0.08)
    assert bootstrap(difference(ece_of(good), ece_of(bad)), 500).high < 0
    assert bootstrap(difference(ece_of(good), ece_of(good)), 50).to_json() == {
        "score": 0.0,
        "ci95": [0.0, 0.0],
        "n": 4000,
    }


def test_ece_s_interval_covers_the_true_error_where_there_is_one() -> None:
    rng = np.random.default_rng(3)
    covered = 0
    for seed in range(200):  # half of the cases sure by .6, half by .9, right in .45 and .75: every gap is .15
        rows = np.repeat([[0.6, 0.45], [0.9, 0.75]], 300, axis=0)
        rows[:, 1] = rng.uniform(size=600) < rows[:, 1]
        interval = bootstrap(ece_of(rows), 300, seed)
        covered += interval.low <= 0.15 <= interval.high
    assert 180 <= covered <= 198


def test_ece_refuses_other_shapes() -> None:
    for rows in ([0.5, 1.0], [[0.5, 1.0, 1.0]], np.empty((0, 2))):
        with pytest.raises(ShapeError, match=r"expected shape \(n, 2\)"):
            ece_of(rows)


def test_confidence_bins_by_hand() -> None:
    assert confidence_bins([0.0, 0.24, 0.25, 0.5, 0.99, 1.0], 4).tolist() == [0, 0, 1, 2, 3, 3]


def test_spearman_by_hand() -> None:
    # ranks 1 2 3 4 against 2 1 4 3: Σd² = 4, so 1 − 6·4 / (4·15) = 0.6
    assert spearman([1.0, 2.0, 3.0, 4.0], [20.0, 10.0, 99.0, 30.0]) == pytest.approx(0.6)


def test_spearman_agrees_with_scipy_with_ties_and_in_rows() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.integers(0, 5, (8, 16)), rng.integers(0, 5, (8, 16))
    expected = [stats.spearmanr(x, y).statistic for x, y in zip(a, b, strict=True)]
    assert spearman(a, b) == pytest.approx(expected)
    assert np.isnan(spearman([1.0, 1.0], [1.0, 2.0]))


def simulated(children: int, cases: int, skill: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(0, skill, (children, 1)) + rng.normal(0, 1, (children, cases))


def test_reliability_matches_what_a_second_draw_of_cases_shows() -> None:
    skill = np.random.default_rng(9).normal(0, 0.25, (400, 1))
    noise = np.random.default_rng(10).normal(0, 1, (400, 64))
    scores = skill + noise
    again = skill[:, 0] + np.random.default_rng(11).normal(0, 1 / 8, 400)
    assert reliability(scores) == pytest.approx(stats.spearmanr(scores.mean(1), again).statistic, abs=0.06)


def test_reliability_by_hand() -> None:
    # two cases: every cut is (1, 2) or (2, 1), ranks 1 2 3 4 against 2 1 4 3, r = 0.6, 2·0.6 / 1.6 = 0.75
    scores = np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 4.0], [4.0, 3.0]])
    assert reliability(scores) == pytest.approx(0.75)
    scores[:, 1] *= -1  # r = −0.6, mirrored
    assert reliability(scores) == pytest.approx(-0.75)


def test_reliability_of_noise_is_near_zero_and_of_plain_order_one() -> None:
    noise = [reliability(simulated(16, 64, 0.0, seed), seed) for seed in range(40)]
    assert abs(np.mean(noise)) < 0.15
    assert reliability(np.arange(5.0)[:, None] + np.zeros(8)) == pytest.approx(1.0)


def test_reliability_rests_on_many_cuts() -> None:
    scores = simulated(16, 33, 0.3)
    cuts = [reliability(scores, seed) for seed in range(10)]
    assert np.std(cuts) < 0.03 and cuts[0] == reliability(scores, 0)


@pytest.mark.parametrize("scores", [np.eye(2), np.ones((5, 1)), np.ones((5, 8))])
def test_reliability_is_none_where_there_is_nothing_to_rank(scores: np.ndarray) -> None:
    assert reliability(scores) is None


def test_reliability_refuses_other_shapes() -> None:
    with pytest.raises(ShapeError, match="children, cases"):
        reliability([1.0, 2.0])


def test_balanced_accuracy_is_scikit_learn_s_in_every_resample() -> None:
    """Resamples of a class with one case often have none of it: the mean is then over the other classes."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 3], [50, 9, 1])  # nothing of class 2
    answers = np.where(rng.random(60) < 0.7, labels, rng.integers(0, 4, 60))
    found, places = balanced_of(answers == labels, labels), rng.integers(0, 60, (40, 60))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of answers of a class that has no case
        expected = [balanced_accuracy_score(labels[row], answers[row]) for row in places]
        assert found.score == pytest.approx(balanced_accuracy_score(labels, answers), abs=1e-12)
    assert found.of(places) == pytest.approx(expected, abs=1e-12)
    assert any(3 not in labels[row] for row in places) and any(3 in labels[row] for row in places)


def test_balanced_accuracy_of_equal_classes_is_accuracy_and_differs_pair_by_pair() -> None:
    labels = np.repeat([0, 1], 20)
    right = np.arange(40) % 3 > 0
    assert balanced_of(right, labels).score == pytest.approx(right.mean())
    less = difference(balanced_of(right, labels), balanced_of(right, labels))
    assert bootstrap(less, 100).to_json() == {"score": 0.0, "ci95": [0.0, 0.0], "n": 40}
    for correct, classes in (([1.0], [0, 1]), ([], []), ([[1.0]], [[0]])):
        with pytest.raises(ShapeError, match="correct and classes"):
            balanced_of(correct, classes)
