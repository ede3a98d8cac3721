"""What a process is told before it computes, seen from fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys

FAULTS = """
import resource, sys
from evoens.allocator import keep_memory
kept = keep_memory() if sys.argv[1] == "keep" else None
import torch
x = torch.ones(16 << 20)
for _ in range(5):
    x + 1
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    x + 1
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def python(code: str, *arguments: str, **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_memory_that_is_kept_is_not_paged_in_again() -> None:
    kept, faults = python(FAULTS, "keep")
    plain = int(python(FAULTS, "leave")[1])
    assert kept == "True" or not sys.platform.startswith("linux")
    assert kept != "True" or int(faults) < plain / 10


def test_threads_sleep_at_barriers_unless_the_user_has_said_otherwise() -> None:
    code = "import os; from evoens.allocator import sleep_at_barriers as s; s(); print(os.environ['OMP_WAIT_POLICY'])"
    assert python(code) == ["PASSIVE"]
    assert python(code, OMP_WAIT_POLICY="ACTIVE") == ["ACTIVE"]


def test_the_command_line_says_so_before_torch_is_there() -> None:
    code = (
        "import os, sys; from typer.testing import CliRunner; from evoens.cli import app;"
        "CliRunner().invoke(app, ['list']); print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    )
    assert python(code) == ["PASSIVE", "False"]
