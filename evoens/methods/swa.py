"""Stochastic weight averaging: one network, the mean of a training's last weights (Izmailov et al. 2018)."""

from __future__ import annotations

from pathlib import Path

from evoens.errors import SpecError
from evoens.methods.base import Baseline, Fitted
from evoens.methods.setting import Setting, fraction
from evoens.progress import OnProgress
from evoens.tasks.schedules import ConstantTail


class SWA(Baseline):
    """From some point on the rate is constant, and the weights of every epoch's end are averaged.

    Statistics of BatchNorm are taken anew, over the train split.

    Args:
        begins: the share of the budget after which that is.
        learning_rate: from there on; half of the training's by default.
    """

    name = "swa"

    def __init__(self, begins: float = 0.75, learning_rate: float = 0.0) -> None:
        self.begins, self.learning_rate = fraction("begins", begins), learning_rate
        if learning_rate < 0:
            raise SpecError(f"learning_rate: expected a number ≥ 0, found {learning_rate}", ("learning_rate",))

    def require(self, epochs: int) -> None:
        """See `Baseline.require`."""
        if self._first(epochs) == epochs:
            raise SpecError(f"begins: expected an epoch of {epochs} to be left, found {self.begins}", ("begins",))

    def _first(self, epochs: int) -> int:
        return round(self.begins * epochs)

    def fit(self, setting: Setting, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Baseline.fit`."""
        first = self._first(setting.epochs)
        epochs = range(first + 1, setting.epochs + 1)
        tail = ConstantTail(first, self.learning_rate or setting.settings.learning_rate / 2)
        one = setting.train(on_progress, cycles=tail, keep=epochs)
        mean = setting.trainer.averaged([one.copy(epoch) for epoch in epochs])
        return Fitted.of(setting.networks([mean.weights]), [one, mean])
