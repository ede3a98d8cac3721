"""A script: the problem of digits, in forked processes that are killed one after another, its parent's training too.

`killed_digits.py ROOT` leaves an unbroken run in ROOT/whole and a broken one in ROOT/0, and prints as JSON what was
killed where.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import killed
import sklearn.datasets
import torch
from tiny_run import Listener
from torch.utils.tensorboard import SummaryWriter

from evoens.config.load import RESOLVED, build, load
from evoens.diversity.watch import watch
from evoens.evaluation import evaluator
from evoens.evaluation.plan import Plan
from evoens.report import listeners
from evoens.tasks import classification_task

IMPORTED = sklearn.datasets.load_digits, SummaryWriter, watch, classification_task  # before the processes part
EPOCHS = 3
CHANGES = (
    f"parent.train={{epochs: {EPOCHS}, batch: 100, precision: float32}}",
    "search={population: 4, generations: 1, elites: 2}",
    "selection.size=2",
    "report={bootstrap: 100, random_draws: 2}",
    "trust_region={frames: 16, children: 2, grid: [0.02, 0.04]}",
)


class Moments(killed.Moments):
    """Knows the moments of a parent's training too."""

    def _stage(self) -> str:
        frame: Any = sys._getframe()
        while frame is not None and frame.f_code.co_name not in (*killed.STAGES, "fit", "export", "build"):
            frame = frame.f_back
        if frame.f_code.co_name == "fit":
            return f"training, {frame.f_locals['training'].epochs} epochs"
        return super()._stage() if frame.f_code.co_name in killed.STAGES else str(frame.f_code.co_name)


def execute(folder: Path, _: Any, **__: Any) -> None:
    """Run, or go on as the command `resume` does."""
    begun = (folder / RESOLVED).is_file()
    loaded = load(folder / RESOLVED, retrain=True) if begun else load("digits_noisy", CHANGES, retrain=True)
    build(loaded, folder, Listener(), retrain=True).execute()


def main(root: Path) -> None:
    torch.set_num_threads(1)
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])  # imports much
    killed.Moments, killed.execute = Moments, execute  # type: ignore[assignment, misc]
    evaluator.quickest = lambda *_: Plan()  # which is quickest is a matter of the moment
    listeners.write_report = killed.page
    assert killed.process(root / "whole") == 0
    moments = json.loads((root / "whole" / "moments.json").read_text())
    lasting = [moment for moment in moments if not moment.endswith(killed.AFTER)]
    training = [m for m in lasting if m.startswith("training")]
    begun = [m for m in lasting if m.startswith("build") and not m.endswith("flushed")]  # only while there is no file
    rest = [m for m in lasting if not m.startswith(("training", "build"))]
    chosen = begun + training[:: len(training) // 3] + rest[:: len(rest) // 3]
    missed = killed.chain(root / "0", chosen)
    print(json.dumps({"killed": len(chosen), "training": len(training), "missed": missed, "moments": chosen}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
