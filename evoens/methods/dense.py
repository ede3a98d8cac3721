"""The deep ensemble: networks that differ in their seeds alone (Lakshminarayanan et al. 2017)."""

from __future__ import annotations

from pathlib import Path

from evoens.methods.base import Baseline, Fitted
from evoens.methods.setting import Setting, divided, whole
from evoens.progress import OnProgress


class Dense(Baseline):
    """Whole networks, each trained with its part of the budget from weights of its own.

    Args:
        members: how many networks there are.
    """

    name = "dense"

    def __init__(self, members: int = 4) -> None:
        self.members = whole("members", members)

    def require(self, epochs: int) -> None:
        """See `Baseline.require`."""
        divided("members", self.members, epochs)

    def fit(self, setting: Setting, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Baseline.fit`."""
        epochs = divided("members", self.members, setting.epochs)
        trained = [setting.train(on_progress, number, epochs=epochs) for number in range(self.members)]
        return Fitted.of(setting.networks([one.weights for one in trained]), trained)
