"""What an earlier evoens wrote still loads: a parent, an ensemble, a finished run and one that was interrupted."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from evoens import load_ensemble
from evoens.cli import app
from evoens.experiment import identity
from evoens.report import listeners

WRITTEN = Path(__file__).parent / "fixtures" / "written-by-0.1.0"


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return shutil.copytree(WRITTEN, tmp_path / "runs")


def said(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output


def on_the_machine_it_began_on(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved = json.loads((folder / "checkpoints" / "00000003" / "state.json").read_text())["identity"]["versions"]
    monkeypatch.setattr(identity, "versions", lambda: saved)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")


def test_the_ensemble_answers_as_it_did(runs: Path) -> None:
    inputs = torch.linspace(-1, 1, 8).reshape(4, 1, 2, 1)
    first = torch.tensor([0.0015, 0.5024, 0.2369, 0.3286])  # what the evoens that wrote it said
    torch.testing.assert_close(
        load_ensemble(runs / "whole").predict(inputs), torch.stack([first, 1 - first], 1), atol=1e-4, rtol=0
    )


@pytest.mark.parametrize("command", ["verify", "inspect", "report"])
@pytest.mark.parametrize("name", ["whole", "half-finished"])
def test_runs_are_read(runs: Path, command: str, name: str) -> None:
    assert said(command, runs / name)


def test_runs_are_listed_and_the_parent_is_known(runs: Path) -> None:
    listed = said("list", "--runs", runs)
    assert "stopped after 1 of 8 generations" in listed and "finished" in listed
    assert "evoens.tasks.networks.mlp:MLP" in said("inspect", runs / "parent.safetensors")


@pytest.mark.usefixtures("one_thread")
def test_an_interrupted_run_goes_on(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = runs / "half-finished"
    before = (folder / "population.jsonl").read_text()
    on_the_machine_it_began_on(folder, monkeypatch)
    monkeypatch.setattr(listeners, "write_report", lambda folder: folder / "report.html")  # which is written above
    said("resume", folder)
    rows = (folder / "population.jsonl").read_text()
    assert rows.startswith(before) and len(rows.splitlines()) == 8 * 4
    assert "every file as its manifest says" in said("verify", folder)


@pytest.mark.usefixtures("one_thread")
def test_under_other_versions_it_says_so(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = runs / "half-finished"
    on_the_machine_it_began_on(folder, monkeypatch)
    other = {**identity.versions(), "torch": "9.9"}
    monkeypatch.setattr(identity, "versions", lambda: other)
    assert "versions.torch: expected '2.14.1' (in the checkpoint), found '9.9'" in said("resume", folder, code=2)
