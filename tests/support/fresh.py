"""Python in a process of its own, which finds the tests and their helpers."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(map(str, (ROOT, Path(__file__).parent))),
    "OMP_NUM_THREADS": "1",
}
