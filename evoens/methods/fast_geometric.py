"""Fast Geometric Ensembling: copies from the valleys of a short cyclical rate (Garipov et al. 2018)."""

from __future__ import annotations

from pathlib import Path

from evoens.errors import SpecError
from evoens.methods.base import Baseline, Fitted
from evoens.methods.setting import Setting, whole
from evoens.progress import OnProgress
from evoens.settings.classification import TrainSettings
from evoens.tasks.schedules import TriangularCycles


class FastGeometric(Baseline):
    """After an ordinary training the rate goes down and up in short cycles; where it is lowest a copy is kept.

    Args:
        members: how many copies are kept.
        cycle: the epochs of a cycle, an even number.
        high: the highest rate of a cycle; half of the training's by default.
        low: the lowest rate of a cycle; a hundredth of the highest by default.
    """

    name = "fast_geometric"

    def __init__(self, members: int = 4, cycle: int = 2, high: float = 0.0, low: float = 0.0) -> None:
        self.members, self.cycle, self.high, self.low = whole("members", members), whole("cycle", cycle, 2), high, low
        if cycle % 2:
            raise SpecError(f"cycle: expected an even number, whose half is where the rate is lowest, found {cycle}")
        if not 0 <= low <= high:
            raise SpecError(f"high, low: expected rates, the low one not above the high one, found {high} and {low}")

    def require(self, epochs: int) -> None:
        """See `Baseline.require`."""
        self._first(epochs)

    def _first(self, epochs: int) -> int:
        """How many epochs come before the cycles; the last of these ends where its copy is taken."""
        cycles = self.cycle * (self.members - 1) + self.cycle // 2
        if cycles >= epochs:
            found = f"{cycles} for {self.members} members of cycles of {self.cycle}"
            raise SpecError(f"members: expected cycles of fewer epochs than the budget's {epochs}, found {found}")
        return epochs - cycles

    def fit(self, setting: Setting, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Baseline.fit`."""
        first = self._first(setting.epochs)
        valleys = [first + self.cycle * i + self.cycle // 2 for i in range(self.members)]
        one = setting.train(on_progress, cycles=self._cycles(first, setting.settings), keep=valleys)
        return Fitted.of(setting.networks([one.copy(epoch) for epoch in valleys]), [one])

    def _cycles(self, first: int, settings: TrainSettings) -> TriangularCycles:
        high = self.high or settings.learning_rate / 2
        return TriangularCycles(first, self.cycle, high, self.low or high / 100)
