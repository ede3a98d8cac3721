"""The parent as a competitor: what everybody's difference is taken from."""

from __future__ import annotations

from pathlib import Path

from evoens.genome import Genome
from evoens.methods.base import Evolved, Fitted, Method
from evoens.progress import OnProgress


class ParentAlone(Method):
    """The network that everything is evolved from."""

    name = "parent"

    def fit(self, evolved: Evolved, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Method`."""
        return Fitted([lambda: evolved.ensemble([Genome()]).predict])
