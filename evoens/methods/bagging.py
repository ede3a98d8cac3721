"""Bagging: networks that learn from different parts of the train split (Breiman 1996)."""

from __future__ import annotations

from pathlib import Path

from evoens.methods.base import Baseline, Fitted
from evoens.methods.setting import Setting, divided, fraction, whole
from evoens.progress import OnProgress


class Bagging(Baseline):
    """Whole networks, each trained on its own share of the examples (dissertation table 5.1: 8 of 90 %).

    Args:
        members: how many networks there are.
        share: of the train split that each learns from, drawn without replacement.
    """

    name = "bagging"

    def __init__(self, members: int = 8, share: float = 0.9) -> None:
        self.members, self.share = whole("members", members), fraction("share", share)

    def require(self, epochs: int) -> None:
        """See `Baseline.require`."""
        divided("members", self.members, epochs)

    def fit(self, setting: Setting, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Baseline.fit`."""
        epochs = divided("members", self.members, setting.epochs)
        trained = [setting.train(on_progress, i, epochs=epochs, share=self.share) for i in range(self.members)]
        return Fitted.of(setting.networks([one.weights for one in trained]), trained)
