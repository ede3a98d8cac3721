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
PROBLEM = ROOT / "problems" / "procgen_bigfish.yaml"
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


def run_whole(folder: Path, beginning: Path) -> float:
    """Run to the end, copy the folder as it is at its first checkpoint, and return the seconds it takes."""
    for file in (PARENT, PARENT.with_suffix(".json")):
        shutil.copy(file, folder.parent)
    changes = {**SHORT, "parent.checkpoint": folder.parent / PARENT.name}
    settings = [f"--set={key}={value}" for key, value in changes.items()]
    began, log = time.monotonic(), folder.with_suffix(".log")
    process = start(log, "run", str(PROBLEM), f"--name={folder.name}", f"--runs={folder.parent}", *settings)
    first = folder / "checkpoints" / "00000001"
    while not first.exists():
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    shutil.copytree(first, beginning / "checkpoints" / first.name)
    shutil.copy(folder / "config.resolved.yaml", beginning)
    assert process.wait() == 0, log.read_text()
    return time.monotonic() - began


def resume(folder: Path, seconds: float | None) -> bool:
    """Go on, killed after so many seconds; return whether the run came to its end before."""
    log = folder.with_suffix(".log")
    process = start(log, "resume", str(folder))
    try:
        assert process.wait(seconds) == 0, log.read_text()
        return True
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return False


def assert_same(killed: Path, whole: Path) -> None:
    for name in ("population.jsonl", "ensemble/genomes.json", "ensemble/parent.safetensors"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes(), name
    reports = [timeless(json.loads((folder / "report.json").read_text())) for folder in (killed, whole)]
    assert reports[0] == reports[1]


@pytest.mark.slow
@pytest.mark.skipif(not PARENT.exists(), reason="no parent has been trained yet")
def test_killed_twenty_times(tmp_path: Path) -> None:
    """All begin at one first checkpoint, since the plan of evaluation is measured anew in every new run.

    A run that is through is compared, and begun again, until all kills have struck; the last one ends in peace.
    """
    whole, killed, beginning = tmp_path / "whole", tmp_path / "killed", tmp_path / "beginning"
    took, draw, struck, through = run_whole(whole, beginning), random.Random(0), 0, 0
    print(f"a run never killed takes {took:.0f} s", flush=True)
    while struck < KILLS or killed.exists():
        if not killed.exists():
            shutil.copytree(beginning, killed)
        moment = draw.uniform(0, took) if struck < KILLS else None
        if resume(killed, moment):
            assert_same(killed, whole)
            through += 1
            print(f"through and equal, the {through}. time", flush=True)
            killed.rename(tmp_path / f"through-{through}")
        else:
            struck += 1
            newest = max(int(path.name) for path in killed.glob("checkpoints/[0-9]*"))
            print(f"kill {struck} after {moment:.1f} s at checkpoint {newest}", flush=True)
