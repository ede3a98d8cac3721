"""Horizontal voting: the networks of a training's last epochs (Xie et al. 2013)."""

from __future__ import annotations

from pathlib import Path

from evoens.errors import SpecError
from evoens.methods.base import Baseline, Fitted
from evoens.methods.setting import Setting, whole
from evoens.progress import OnProgress


class HorizontalVoting(Baseline):
    """An ordinary training, of whose last epochs each gives a member.

    Args:
        last: how many epochs, and members.
    """

    name = "horizontal_voting"

    def __init__(self, last: int = 4) -> None:
        self.last = whole("last", last)

    def require(self, epochs: int) -> None:
        """See `Baseline.require`."""
        if self.last > epochs:
            raise SpecError(f"last: expected at most the budget of {epochs} epochs, found {self.last}", ("last",))

    def fit(self, setting: Setting, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Baseline.fit`."""
        epochs = range(setting.epochs - self.last + 1, setting.epochs + 1)
        one = setting.train(on_progress, keep=epochs)
        return Fitted.of(setting.networks([one.copy(epoch) for epoch in epochs]), [one])
