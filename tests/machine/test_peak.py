"""The most memory at once, of what comes after the beginning."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from evoens.machine.peak import begin_peak, peak


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it is counted from the process's beginning")
def test_what_was_held_before_does_not_count() -> None:
    large = np.ones(60_000_000)
    high = peak()
    del large
    begin_peak()
    low = peak()
    assert high > low + 300_000_000
    large = np.ones(30_000_000)
    assert peak() > low + 150_000_000 and len(large)
