"""Methods whose ensemble is one network with several members inside, trained in one go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evoens.methods.base import Baseline, Fitted
from evoens.methods.setting import Setting
from evoens.network.wrapper import Wrapper
from evoens.progress import OnProgress


class OneNetwork(Baseline):
    """The whole budget goes into one training, of the problem's network made into a `evoens.methods.joint.Joint`.

    Args:
        target: what makes that of a network, `package.module:Class`.
        arguments: its further arguments, checked.
    """

    def __init__(self, target: str, **arguments: Any) -> None:
        self.wrapper = Wrapper(target, arguments)

    def fit(self, setting: Setting, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Baseline.fit`."""
        one = setting.train(on_progress, wrapper=self.wrapper)
        return Fitted.of(setting.networks([one.weights], self.wrapper), [one])
