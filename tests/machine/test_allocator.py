"""Memory that is kept, seen from fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys

FAULTS = """
import resource, sys
from evoens.machine.allocator import keep_memory
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
    assert kept != "True" or int(faults) < plain / 3  # now and then the heap still grows
