"""How far a training or an evolution has come, in numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """Where a training stands: steps done and to do, steps per second, seconds to go, and what it has `reached`."""

    steps: int
    total: int
    steps_per_second: float
    seconds_left: float
    reached: str = ""


@dataclass(frozen=True)
class Generation:
    """One generation in numbers, all of them JSON.

    Attributes:
        generation: its number, from 0.
        sigma: scale of the noise of its new genes; None where what the Strategy does has no scale.
        fitness: `best`, `mean`, `worst` of the children, and the `parent`, on the search split, in the problem's unit.
        ensemble: what the ensemble of the best so far scores, in the same unit.
        reliability: of the children's ranking, −1 to 1 (`metrics.reliability`).
        diversity: for each measure its `value` and its `floor` (`diversity.watch`).
        failed: children without a result.
        evaluations: measurements paid for since the run began.
        samples_per_second: inputs predicted per second of this generation.
        seconds: how long it took.
        search: how far the search has come, by figures of its own (`Search.figures`).
    """

    generation: int
    sigma: float | None
    fitness: dict[str, float]
    ensemble: float | None
    reliability: float | None
    diversity: dict[str, dict[str, float]]
    failed: int
    evaluations: int
    samples_per_second: float
    seconds: float
    search: dict[str, float] = field(default_factory=dict)


OnProgress = Callable[[Progress], None]
OnCount = Callable[[int, int], None]
"""Is told how many of how many are done."""


def no_progress(done: int, total: int) -> None:
    """Tell nobody."""
