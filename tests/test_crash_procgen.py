"""The main job, shortened, on the real game: killed with `kill -9` at 20 random moments, resumed by command."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_run import timeless

ROOT = Path(__file__).parents[1]
PARENT = ROOT / "problems" / "parents" / "bigfish.safetensors"
KILLS = 20
SHORT = {
    **{f"problem.levels.{split}.count": 4 for split in ("search", "select", "test")},
    **{"search.population": 4, "search.generations": 2, "search.elites": 2, "search.racing": "null"},
    **{"selection.size": 2, "trust_region.frames": 16, "report.bootstrap": 100},
}


def start(log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    """Start the command line in a process of its own; what it says goes to the end of `log`."""
    with log.open("ab") as said:
        return subprocess.Popen([sys.executable, "-m", "evoens", *arguments], cwd=ROOT, stdout=said, stderr=said)


def run_to_the_end(log: Path, *arguments: str) -> None:
    assert start(log, *arguments).wait() == 0, log.read_text()


def step(folder: Path) -> int:
    return max((int(path.name) for path in folder.glob("checkpoints/[0-9]*")), default=0)


@pytest.mark.slow
@pytest.mark.skipif(not PARENT.exists(), reason="no parent has been trained yet")
def test_killed_twenty_times(tmp_path: Path) -> None:
    """Both begin at one first checkpoint, since the plan of evaluation and σ are measured anew in every new run."""
    for file in (PARENT, PARENT.with_suffix(".json")):
        shutil.copy(file, tmp_path)
    settings = [f"--set={key}={value}" for key, value in {**SHORT, "parent.checkpoint": tmp_path / PARENT.name}.items()]
    whole, killed, log = tmp_path / "whole" / "run", tmp_path / "killed" / "run", tmp_path / "killed.log"
    began = time.monotonic()
    problem = str(ROOT / "problems" / "procgen_bigfish.yaml")
    process = start(tmp_path / "whole.log", "run", problem, "--name=run", f"--runs={whole.parent}", *settings)
    first = whole / "checkpoints" / "00000001"
    while not first.exists():
        assert process.poll() is None, (tmp_path / "whole.log").read_text()
        time.sleep(0.05)
    to_first = time.monotonic() - began
    shutil.copytree(first, killed / "checkpoints" / first.name)
    shutil.copy(whole / "config.resolved.yaml", killed)
    assert process.wait() == 0, (tmp_path / "whole.log").read_text()
    took, draw, steps = time.monotonic() - began, random.Random(0), []
    for number in range(KILLS):
        process = start(log, "resume", str(killed))
        time.sleep(draw.uniform(0, to_first + (took - to_first) / 4))
        alive = process.poll() is None
        process.kill()
        assert process.wait() in (0, -9), log.read_text()
        steps.append(step(killed))
        print(f"kill {number + 1}: {'struck' if alive else 'too late'} at checkpoint {steps[-1]}", flush=True)
    run_to_the_end(log, "resume", str(killed))
    print(f"unbroken: {took:.0f} s, {step(whole)} checkpoints; all of this: {time.monotonic() - began:.0f} s")
    assert len(set(steps)) > 3
    for name in ("population.jsonl", "ensemble/genomes.json", "ensemble/parent.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    reports = [timeless(json.loads((folder / "report.json").read_text())) for folder in (killed, whole)]
    assert reports[0] == reports[1]
