"""The most memory that this process has held, since it was last asked to begin counting."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def begin_peak() -> None:
    """Count from now on, where the system can: Linux; elsewhere it is counted from the process's beginning."""
    with suppress(OSError):
        _CLEAR.write_text("5")  # see proc(5)


def peak() -> int:
    """Return the most bytes of memory that were resident at once."""
    with suppress(OSError):
        for line in _STATUS.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return own if sys.platform == "darwin" else own << 10
