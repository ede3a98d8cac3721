"""The best child as a competitor: what search finds where no ensemble is made."""

from __future__ import annotations

from pathlib import Path

from evoens.methods.base import Evolved, Fitted, Method
from evoens.progress import OnProgress


class BestChild(Method):
    """The one child with the highest score on the select split."""

    name = "best_child"

    def fit(self, evolved: Evolved, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Method`."""
        return Fitted([lambda: evolved.ensemble([evolved.best]).predict], {"key": evolved.best.key})
