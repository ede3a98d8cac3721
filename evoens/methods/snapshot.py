"""Snapshot ensembles: one training in cycles, and a copy at the end of each (Huang et al. 2017)."""

from __future__ import annotations

from pathlib import Path

from evoens.methods.base import Baseline, Fitted
from evoens.methods.setting import Setting, divided, whole
from evoens.progress import OnProgress
from evoens.tasks.schedules import CosineCycles


class Snapshot(Baseline):
    """The learning rate falls to 0 along a half cosine in each cycle, and begins anew.

    Args:
        cycles: how many there are, and members.
    """

    name = "snapshot"

    def __init__(self, cycles: int = 4) -> None:
        self.cycles = whole("cycles", cycles)

    def require(self, epochs: int) -> None:
        """See `Baseline.require`."""
        divided("cycles", self.cycles, epochs)

    def fit(self, setting: Setting, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Baseline.fit`."""
        epochs = divided("cycles", self.cycles, setting.epochs)
        ends = [epochs * (i + 1) for i in range(self.cycles)]
        one = setting.train(on_progress, cycles=CosineCycles(self.cycles), keep=ends)
        return Fitted.of(setting.networks([one.copy(end) for end in ends]), [one])
