from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from evoens.errors import ShapeError
from evoens.metrics import mean_interval, paired_difference, reliability, spearman


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
    paired = paired_difference(levels + 1 + noise, levels)
    assert paired.score == pytest.approx(1 + noise.mean())
    assert paired.low > 0.8
    apart = mean_interval(levels)
    assert paired.high - paired.low < (apart.high - apart.low) / 10


def test_pairing_refuses_other_cases() -> None:
    with pytest.raises(ShapeError, match=r"\(2,\) and \(3,\)"):
        paired_difference([1.0, 2.0], [1.0, 2.0, 3.0])


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
