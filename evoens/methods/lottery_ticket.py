"""The lottery ticket: the largest weights of a trained network, trained again from where they began (Frankle 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from evoens import masks
from evoens.errors import SpecError
from evoens.genome import Mask
from evoens.methods.base import Baseline, Fitted
from evoens.methods.setting import Setting, fraction, whole
from evoens.progress import OnProgress
from evoens.tasks.lesson import FixedMasks


class LotteryTicket(Baseline):
    """A network is trained and pruned by magnitude; what is left goes back to its early weights, and is trained anew.

    Frankle & Carbin (2019), and with `rewind` above 0 Frankle et al. (2020): the weights go back to the end of an early
    epoch. Every layer keeps the same share, the output layer all of its weights.

    Args:
        density: the share of weights that is kept.
        first: the share of the budget of the training after which it is pruned.
        rewind: the epoch to whose end the weights go back; 0 is to the weights that they began with.
    """

    name = "lottery_ticket"

    def __init__(self, density: float = 0.5, first: float = 0.5, rewind: int = 0) -> None:
        self.density, self.first, self.rewind = fraction("density", density), fraction("first", first), rewind
        whole("rewind", rewind, 0)

    def require(self, epochs: int) -> None:
        """See `Baseline.require`."""
        self._first(epochs)

    def _first(self, epochs: int) -> int:
        first = round(self.first * epochs)
        if not self.rewind < first < epochs:
            found = f"{first}, with rewind {self.rewind}"
            raise SpecError(
                f"first: expected epochs above rewind and below the budget's {epochs}, found {found}", ("first",)
            )
        return first

    def fit(self, setting: Setting, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Baseline.fit`."""
        first = self._first(setting.epochs)
        keep = [self.rewind] if self.rewind else []
        whole_network = setting.train(on_progress, epochs=first, keep=keep)
        begins = whole_network.copy(self.rewind) if keep else setting.trainer.untrained().weights
        kept = self._masks(setting, whole_network.weights)
        ticket = setting.train(on_progress, epochs=setting.epochs - first, start=begins, masks=FixedMasks(kept))
        return Fitted.of(setting.networks([ticket.weights]), [whole_network, ticket])

    def _masks(self, setting: Setting, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        mask, names = Mask(0, self.density), setting.problem.parent.perturbed[:-1]
        return {name: masks.magnitude(mask, weights[name]) for name in names}
