"""How far a training has come."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """Where a training stands: steps done and to do, steps per second, seconds to go, and what it has `reached`."""

    steps: int
    total: int
    steps_per_second: float
    seconds_left: float
    reached: str = ""


OnProgress = Callable[[Progress], None]
Told = Callable[[int, int], None]
"""Is told how many of how many are done."""


def unheard(done: int, total: int) -> None:
    """Tell nobody."""
