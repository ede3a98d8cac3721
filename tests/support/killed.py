"""A script: the tiny run, in forked processes that are killed one after another, each going on where the last died.

`killed.py ROOT some|every|random` leaves an unbroken run in ROOT/whole and a broken one in ROOT/0 (for some kinds of
moments in ROOT/1 and on as well), and prints as JSON what was killed where.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tiny import COUNT
from tiny_run import TinyFrames, config, execute

from evoens.evaluation import evaluator
from evoens.evaluation.plan import Plan
from evoens.report import listeners
from evoens.storage import checkpoint, files

SETTINGS = config(
    strategy={"sigma": "auto"}, search={"population": 4}, selection={"size": 2}, report={"precision": 0.001}
)
STAGES = ("settle_scope", "settle_sigma", "evolve", "settle_members", "conclude", "execute")
AFTER = (
    "checkpoint flushed",
    "put aside",
    "removed",
)  # a checkpoint is in place: its earlier moments do not come again
SOME = tuple(f"{name} half written" for name in ("population.jsonl", "state.json", "genomes.json", "report.json"))
KILLS = 20


def page(folder: Path) -> Path:
    """Stands in for report.html, which takes longer to draw than all the rest."""
    files.write_atomic(folder / "report.html", "a page")
    return folder / "report.html"


class Acting(TinyFrames):
    """Compared block by block, at action temperatures, too."""

    block = COUNT // 2
    action_temperatures = (1.0, 0.5)


class Moments:
    """Names each step of each file on its way to the disk, and dies at the one that it is given, if any."""

    def __init__(self, target: str | None) -> None:
        self.target, self.passed, self.last = target, dict[str, None](), ""
        self._write, self._sync, self._remove = files.write, files.sync_folder, shutil.rmtree
        files.write, files.sync_folder = self.write, self.sync
        shutil.rmtree = self.remove  # type: ignore[assignment]

    def write(self, path: Path, data: bytes) -> None:
        self.last = re.sub(r"^\.(.*)\.\d+\.tmp$", r"\1", path.name)
        self.moment(f"{self.last} half written", lambda: path.write_bytes(data[: len(data) // 2]))
        self._write(path, data)
        self.moment(f"{self.last} written")

    def sync(self, folder: Path) -> None:
        what = "checkpoint" if folder.name == "checkpoints" else self.last
        self.moment(f"{what} renamed")
        self._sync(folder)
        self.moment(f"{what} flushed")

    def remove(self, folder: Path, **how: Any) -> None:
        self.moment("put aside")
        self._remove(folder, **how)
        self.moment("removed")

    def moment(self, what: str, last: Callable[[], Any] = lambda: None) -> None:
        """Go through one moment; `last` is done before dying in it."""
        name = f"{self._stage()}: {what}"
        if name == self.target:
            last()
            os.kill(os.getpid(), signal.SIGKILL)
        self.passed[name] = None

    def _stage(self) -> str:
        """Where the run is, the same however often it was killed on its way there."""
        frame: Any = sys._getframe()
        while frame.f_code.co_name not in STAGES:
            frame = frame.f_back
        journal = frame.f_locals["journal"]
        done, paid = len(journal.state.generations), journal.ledger.evaluations
        return f"{frame.f_code.co_name}, {done} generations, {paid} measurements"


def process(folder: Path, target: str | None = None, seconds: float | None = None) -> int:
    """Run, or go on, in a process of its own, until `target` or for so long; return 0, or minus the signal's number."""
    pid = os.fork()
    if pid == 0:
        moments = Moments(target)
        try:
            execute(folder, SETTINGS, problem=Acting())
            (folder / "moments.json").write_text(json.dumps(list(moments.passed)))
            os._exit(0)
        finally:
            os._exit(1)
    timer = threading.Timer(seconds or 3600, os.kill, (pid, signal.SIGKILL))
    timer.start()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    timer.cancel()
    timer.join()
    return status


def chain(folder: Path, targets: list[str]) -> list[str]:
    """Die at each of the moments in turn, then run to the end; return the moments that never came."""
    missed = [target for target in targets if process(folder, target) != -signal.SIGKILL]
    assert process(folder) == 0
    return missed


def at_moments(root: Path, moments: list[str], some: bool) -> dict[str, Any]:
    if some:
        moments = [m for m in moments if m.endswith((*SOME, "checkpoint renamed"))]
    chains = [[m for m in moments if not m.endswith(AFTER)], *([m for m in moments if m.endswith(a)] for a in AFTER)]
    missed = [m for i, targets in enumerate(chains) if targets for m in chain(root / str(i), targets)]
    return {"killed": len(moments), "missed": missed}


def at_random(root: Path, whole: float) -> dict[str, Any]:
    draw, fell = random.Random(0), []
    for _ in range(KILLS):
        status = process(root / "0", seconds=draw.uniform(0, whole))
        saved, skipped = checkpoint.CheckpointStore(root / "0" / "checkpoints").latest()
        assert status in (0, -signal.SIGKILL) and skipped == []
        fell.append(saved.step if saved else 0)
    assert process(root / "0") == 0
    return {"killed": KILLS, "missed": [], "steps": fell}


def main(root: Path, kind: str) -> None:
    torch.set_num_threads(1)
    evaluator.quickest = lambda *_: Plan()  # which is quickest is a matter of the moment
    listeners.write_report = page
    started = time.monotonic()
    assert process(root / "whole") == 0
    took = time.monotonic() - started
    moments = json.loads((root / "whole" / "moments.json").read_text())
    found = at_random(root, took) if kind == "random" else at_moments(root, moments, kind == "some")
    print(json.dumps({"moments": len(moments), "seconds": time.monotonic() - started, "one": took, **found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
