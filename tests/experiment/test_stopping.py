"""When a comparison stops: by the width of an interval alone, which holds the truth about as often as it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from evoens.experiment.stopping import blocks, half_width, narrow, stopping
from evoens.problem import Split
from evoens.scoring.metrics import bootstrap, mean_of

Floats = npt.NDArray[np.float64]
BLOCK, CASES = 100, 400


def fish(n: int, rng: np.random.Generator) -> Floats:
    """Paired differences as bigfish has them: sd 14, mean 0; a quarter of the levels end alike, few bring 40."""
    one, other = np.minimum(40, rng.gamma(0.7, 17, (2, n)))
    return np.where(rng.random(n) < 0.25, 0, one - other)


def looked_at(cases: Floats, precision: float, resamples: int, seed: int = 0) -> dict[str, Any]:
    """The interval at which a comparison of these cases stops."""
    for part in blocks(Split("test", 0, len(cases)), BLOCK):
        found = bootstrap(mean_of(cases[: part.first + part.count]), resamples, seed).to_json()
        if narrow(found, precision):
            break
    return found


def coverage(comparisons: int, resamples: int, precision: float) -> tuple[float, float]:
    """How often the interval at the stop holds the truth, 0, and how often the width was reached."""
    rng = np.random.default_rng(3)
    found = [looked_at(fish(CASES, rng), precision, resamples, seed) for seed in range(comparisons)]
    held = [low <= 0 <= high for low, high in (stats["ci95"] for stats in found)]
    return float(np.mean(held)), float(np.mean([narrow(stats, precision) for stats in found]))


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    held, reached = coverage(300, 200, precision=2.0)
    assert 0.90 <= held <= 0.98 and reached > 0.99


@pytest.mark.slow
@pytest.mark.parametrize("precision", [1.25, 1.5, 1.75, 2.0, 2.5])
def test_it_does_at_full_size(precision: float) -> None:
    held, reached = coverage(1000, 400, precision)
    print(f"±{precision}: holds the truth in {held:.3f}, reached in {reached:.3f}")
    assert 0.91 <= held <= 0.965


def test_which_side_the_interval_lies_on_does_not_matter() -> None:
    cases = fish(CASES, np.random.default_rng(0))
    stops = [looked_at(some, 1.75, 200)["n"] for some in (cases, -cases, cases + 9, cases - 9)]
    assert len(set(stops)) == 1 and BLOCK < stops[0] < CASES


@pytest.mark.parametrize(("size", "counts"), [(None, [250]), (100, [100, 100, 50]), (250, [250]), (400, [250])])
def test_blocks_are_a_split_s_cases_in_order(size: int | None, counts: list[int]) -> None:
    found = blocks(Split("test", 5, 250), size)
    assert [part.count for part in found] == counts
    assert [case for part in found for case in range(part.first, part.first + part.count)] == list(range(5, 255))


def test_what_the_report_says_by_hand() -> None:
    stats = {"score": 0.1, "ci95": [-0.5, 1.0], "n": 200}
    assert half_width(stats) == 0.75 and stopping(stats, 400, 100, None) is None
    told = {"measured": 200, "of": 400, "block": 100, "half_width": 0.75}
    assert stopping(stats, 400, 100, 0.75) == {**told, "precision": 0.75, "reason": "precision"}
    last = {**stats, "n": 400}
    assert stopping(last, 400, None, 0.7) == {
        "measured": 400, "of": 400, "block": 400, "half_width": 0.75, "precision": 0.7, "reason": "spent",
    }  # fmt: skip
    assert not narrow(stats, None)
