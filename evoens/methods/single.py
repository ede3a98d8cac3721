"""One network, trained with the whole budget: what every ensemble is measured against."""

from __future__ import annotations

from pathlib import Path

from evoens.methods.base import Baseline, Fitted
from evoens.methods.setting import Setting
from evoens.progress import OnProgress


class Single(Baseline):
    """One network."""

    name = "single"

    def fit(self, setting: Setting, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Baseline.fit`."""
        one = setting.train(on_progress)
        return Fitted.of(setting.networks([one.weights]), [one])
