"""The benchmark on a toy network: what it reports is complete, positive and consistent with itself."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from evoens.bench import population
from evoens.bench.population import TARGETS, describe, measure
from evoens.evaluation.plan import Plan


def test_the_figures_are_complete_and_fit_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(population, "PRODUCT_GFLOP", 0.01)
    result = json.loads(
        json.dumps(measure((4, 4, 4), batch=4, children=2, frames=8, steps=3, rounds=1, squares=(32, 64)))
    )
    rates, flops = result["frames_per_second"], result["gflops"]
    assert all(result[name] > 0 for name in TARGETS)
    assert result["speedup_vs_vmap"] == pytest.approx(rates["plan"] / rates["vmap"])
    assert result["speedup_vs_loop"] == pytest.approx(rates["plan"] / rates["loop"])
    assert result["fraction_of_parent_inference"] == pytest.approx(rates["child"] / rates["parent"])
    assert result["fraction_of_large_batches"] == pytest.approx(rates["search"] / rates["large"])
    assert result["fraction_of_matmul_peak"] == pytest.approx(flops["plan"] / flops["matmul"])
    assert Plan.from_json(result["plan"]).precision == result["dtype"]
    assert result["matmul_side"] in (32, 64) and result["threads"] >= 1 and result["cpu"]
    # By hand: 3×3 convolutions, from 6 channels at 64², from 4 at 32² (5), 16² (5), 8² (4); the linear layers.
    multiplications = 9 * 4 * (6 * 64**2 + 4 * (5 * 32**2 + 5 * 16**2 + 4 * 8**2)) + 256 * 256 + 256 * 15
    assert result["gflop_per_frame"] == pytest.approx(2 * multiplications / 1e9)
    console = Console(width=200, record=True)
    console.print(describe(result))
    assert "torch.vmap" in console.export_text()
