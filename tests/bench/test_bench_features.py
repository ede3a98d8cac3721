"""The benchmark of feature visualisation: figures that fit together, and both ways find the same pictures."""

from __future__ import annotations

import json

import pytest

from evoens.bench.features import describe, measure


def test_the_figures_are_complete_and_fit_together() -> None:
    result = json.loads(json.dumps(measure(1, units=4, members=2, steps=1)))
    rates = result["pictures_per_second"], result["one_at_a_time_per_second"]
    assert min(rates) > 0 and result["speedup_vs_one_at_a_time"] == pytest.approx(rates[0] / rates[1])
    assert (result["width"], result["units"], result["members"], result["steps"]) == (1, 4, 2, 1)
    assert result["largest_difference"] <= 0.501  # the batch's pictures are rounded
    assert result["cpu"] and f"{result['speedup_vs_one_at_a_time']:.2f} × (target ≥ 4 ×)" in describe(result)
