"""A baseline among the `report.methods` of an ordinary run: trained by the run's own budget, compared as the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_table import TABLE
from typer.testing import CliRunner

from evoens.cli import app

pytestmark = pytest.mark.usefixtures("one_thread", "same_plan")


def test_it_is_compared_on_the_same_cases_at_the_budget_of_the_ensemble(tmp_path: Path) -> None:
    sections = TABLE.replace("seeds: [0, 1]\nbudget: {epochs: 4}\n", "").replace(
        "train: {batch", "train: {epochs: 2, batch"
    )
    own = "strategy: {class: sparse}\ntune: {epochs: 1, batch: 16}\nselection: {size: 2}\n"
    sections = sections.replace("network: mlp", "network: mlp\n  checkpoint: parent.safetensors")
    sections = sections.replace("random_draws: 1", "random_draws: 1, methods: ['evoens.methods.snapshot:Snapshot']")
    (tmp_path / "run.yaml").write_text(sections + own)
    result = CliRunner().invoke(app, ["run", str(tmp_path / "run.yaml"), "--runs", str(tmp_path), "--quiet"])
    assert result.exit_code == 0, result.stderr
    report = json.loads((tmp_path / "tiny" / "report.json").read_text())
    block = report["snapshot"]
    assert report["cost"]["epochs"] == {"parent": 2, "children": 2} and block["spent"]["epochs"] == 4
    assert block["networks"] == 4 and block["test"]["n"] == report["ensemble"]["test"]["n"] == 300
    assert "test_difference" in block and (tmp_path / "tiny" / "trainings").is_dir()
    flops = report["cost"]["flops"]["training"]
    assert flops["parent"] + flops["children"] < block["spent"]["flops"]
