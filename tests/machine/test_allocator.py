"""Memory that is kept, seen from fresh processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

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


IDLE = """
import re
from evoens.machine.allocator import keep_memory, let_go
kept = keep_memory()
import torch

def rss():
    return int(re.search(r"VmRSS:\\s+(\\d+)", open("/proc/self/status").read())[1]) >> 10
some = [torch.ones(16 << 20) for _ in range(16)]  # 1 GiB
top = torch.ones(16)  # lies above them, so that the heap cannot shrink from its end
full = rss()
del some
idle = rss()
let_go()
print(kept, full, idle, rss())
"""


def test_much_that_lies_idle_is_handed_back() -> None:
    kept, full, idle, after = python(IDLE)
    if kept != "True":
        pytest.skip("no glibc")
    assert int(idle) > int(full) - 100 and int(after) < int(full) - 900
