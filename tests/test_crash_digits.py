"""The problem of digits, killed again and again, in its training too: it ends with the bits of one never killed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from fresh import ENVIRONMENT
from tiny_run import timeless

from evoens.ensemble import load_ensemble

SAME = ("parent/parent.safetensors", "population.jsonl", "data.json", "ensemble/genomes.json")


def test_killed_at_every_stage(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "killed_digits", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=ENVIRONMENT)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["missed"] == [] and found["killed"] > 5 and found["training"] > 20
    whole, broken = tmp_path / "whole", tmp_path / "0"
    for name in SAME:
        assert (broken / name).read_bytes() == (whole / name).read_bytes(), name
    for name in ("report.json", "parent/parent.json"):
        one, two = (timeless(json.loads((folder / name).read_text())) for folder in (broken, whole))
        assert one == two
    assert not list(broken.rglob(".unfinished*")) and load_ensemble(broken)
