"""A table that is killed (SIGKILL) in the middle of three methods, and goes on to the same bits."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fresh import ENVIRONMENT
from tiny_table import METHODS, written

DRIVER = """
import sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from evoens.config.table import load_table
from evoens.evaluation import evaluator
from evoens.evaluation.plan import Plan
from evoens.report.console import Reporter
from evoens.tables.work import make_table

evaluator.quickest = lambda *_: Plan()

class Told(Reporter):
    stage = ""

    def on_stage(self, text):
        self.stage = text
        print(text, flush=True)

    def on_progress(self, done, total, text):
        print(f"{self.stage}: {text} {done}", flush=True)

    def on_training(self, progress):
        print(f"{self.stage}: step {progress.steps}", flush=True)

table = load_table(sys.argv[1])
make_table(table, table.rows, [0], Path(sys.argv[2]), Told(quiet=True))
"""
MOMENTS = ("bagging, seed 0: step 11", "snapshot, seed 0: step 21", "sparse, seed 0: choosing members")


def run(yaml: str, folder: Path, moment: str | None = None) -> bool:
    """Make the table; kill the process at a moment, and say whether it came."""
    command = [sys.executable, "-c", DRIVER, yaml, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if moment is not None and line.startswith(moment):
                process.send_signal(signal.SIGKILL)
                return True
    assert process.returncode == 0
    return False


@pytest.mark.slow
def test_killed_in_three_methods_it_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    yaml = written(tmp_path, METHODS)
    run(yaml, tmp_path / "whole")
    for moment in MOMENTS:
        assert run(yaml, tmp_path / "broken", moment), moment
    run(yaml, tmp_path / "broken")
    files = sorted(path.relative_to(tmp_path / "whole") for path in tmp_path.glob("whole/rows/*/0/outputs.safetensors"))
    assert len(files) == 4
    for file in files:
        assert (tmp_path / "broken" / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
