"""The benchmark of late layers on a toy network: complete, consistent with itself, and of the same children."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from evoens.bench.scope import TARGETS, describe, measure
from evoens.evaluation.plan import Plan


def test_the_figures_are_complete_and_fit_together() -> None:
    result = json.loads(json.dumps(measure(1, images=6, batch=4, children=2, rounds=1)))
    rates = result["per_second"]
    assert set(rates) == {"first", "shared", "whole", "load_state_dict", "ensemble", "parent", "parent_plain"}
    assert all(result[name] > 0 for name in (*TARGETS, "threads")) and all(rate > 0 for rate in rates.values())
    assert result["speedup_vs_whole"] == pytest.approx(rates["shared"] / rates["whole"])
    assert result["speedup_vs_load_state_dict"] == pytest.approx(rates["shared"] / rates["load_state_dict"])
    assert result["ensemble_vs_parent"] == pytest.approx(rates["ensemble"] / rates["parent"])
    assert result["largest_difference_plain"] == 0 and result["largest_difference"] < 0.05
    assert Plan.from_json(result["plan"]).precision == result["dtype"]
    console = Console(width=200, record=True)
    console.print(describe(result))
    assert "load_state_dict" in console.export_text()
