"""A run killed with `kill -9` and gone on with ends with the bits of the run never killed; Ctrl-C says how to go on."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from fresh import ENVIRONMENT
from parents import write_parent
from tiny_run import Listener, TinyFrames, config, experiment, timeless
from typer.testing import CliRunner

from evoens.cli import app
from evoens.commands import session
from evoens.config.load import resolved_yaml
from evoens.ensemble import load_ensemble
from evoens.experiment.run import Run
from evoens.report.listeners import standard


def killed(root: Path, kind: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "killed", str(root), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def assert_same(root: Path) -> None:
    whole = root / "whole"
    for broken in (path for path in root.iterdir() if path != whole):
        for name in ("population.jsonl", "ensemble/genomes.json", "ensemble/parent.safetensors"):
            assert (broken / name).read_bytes() == (whole / name).read_bytes(), name
        reports = [timeless(json.loads((run / "report.json").read_text())) for run in (broken, whole)]
        assert reports[0] == reports[1]
        assert not list(broken.rglob(".unfinished*")) and load_ensemble(broken, trust=True)


def test_killed_at_every_stage(tmp_path: Path) -> None:
    found = killed(tmp_path, "some")
    assert found["missed"] == [] and found["killed"] > 25
    assert_same(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["every", "random"])
def test_killed_at(tmp_path: Path, kind: str) -> None:
    """At every step of every file on its way to the disk, and at 20 random moments."""
    found = killed(tmp_path, kind)
    assert found["missed"] == [] and found["killed"] == (found["moments"] if kind == "every" else 20)
    assert_same(tmp_path)


def test_ctrl_c_ends_with_the_command_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The real command line, with the tiny run in place of the YAML's, stopped as Ctrl-C does in a child's game."""
    yaml, folder = tmp_path / "tiny.yaml", tmp_path / "runs" / "tiny"
    write_parent(tmp_path / "parent.safetensors")
    settings = config(parent={"checkpoint": "parent.safetensors"})
    yaml.write_text(resolved_yaml(settings, tmp_path))

    def interrupt(split: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    folder.mkdir(parents=True)
    (folder / ".lock").write_text("1\n")  # all that is there when the first kill strikes early enough
    run = Run(experiment(settings, TinyFrames(before=interrupt)), folder, standard(Listener()))
    monkeypatch.setattr(session, "build", lambda *_, **__: run)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which is ignored in a job in the background
    result = CliRunner().invoke(app, ["run", str(yaml), "--runs", str(tmp_path / "runs"), "--quiet"])
    assert result.exit_code == 130, result.output
    assert f"go on with:\n  python -m evoens resume {folder}" in result.stderr
    assert list((folder / "checkpoints").iterdir())
