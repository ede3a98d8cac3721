"""The most memory at once, of what comes after the beginning."""

from __future__ import annotations

import subprocess
import sys

import pytest
from fresh import ENVIRONMENT

MEASURED = """
import numpy as np
from evoens.machine.peak import begin_peak, peak

large = np.ones(60_000_000)
high = peak()
del large
begin_peak()
low = peak()
large = np.ones(30_000_000)
print(high, low, peak())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is counted from the process's beginning")
def test_what_was_held_before_does_not_count() -> None:
    """In a fresh process: one that has kept what it freed would find it resident still."""
    done = subprocess.run([sys.executable, "-c", MEASURED], check=True, capture_output=True, text=True, env=ENVIRONMENT)
    high, low, later = map(int, done.stdout.split())
    assert high > low + 300_000_000 and later > low + 150_000_000
