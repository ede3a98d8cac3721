"""Elitism: the Strategy itself breeds the best that it is given (De Jong 1975); the search of every run by default."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

from evoens.genome import Genome
from evoens.search.base import Search
from evoens.strategy import Context, Record, ask, learn, learnt, tell


class Elites(Search):
    """Has the Strategy ask, on the best `search.elites` children so far, and tells it all that it learns."""

    def ask(self, n: int, rng: Random, context: Context) -> list[Genome]:
        """See `Search`; the scale is the Strategy's own, which may adapt it."""
        self.strategy = self.strategy.within(elites=context.elites)
        return ask(self.strategy, n, rng)

    def tell(self, records: Sequence[Record]) -> None:
        """See `Search`."""
        tell(self.strategy, records)

    def state_dict(self) -> dict[str, Any]:
        """Return the Strategy's state."""
        return learnt(self.strategy)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Have the Strategy take up its state."""
        learn(self.strategy, state)
