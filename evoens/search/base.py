"""The Search: asks for the genomes of a generation, and is told what they score. Subclass it for one of your own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from random import Random
from typing import Any

from evoens.genome import Genome
from evoens.strategy import Context, Record, Strategy


class Search(ABC):
    """Makes the next genomes from scores: `ask` is the only method that must be written.

    `search.by` of a YAML names one of your own, as `my.py:Class`. Any search goes with any Strategy, which rebuilds
    what it asks for:

        class Fresh(Search):
            def ask(self, n, rng, context):
                return self.strategy.within(elites=()).ask(n, rng)

    Args:
        strategy: what children are made by, with σ, scope and parent as the run has found them.
    """

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy

    @abstractmethod
    def ask(self, n: int, rng: Random, context: Context) -> list[Genome]:
        """Return `n` new genomes; all randomness comes from `rng`.

        context: the σ that was settled, the scope, the parent, and the best children so far.
        """

    def tell(self, records: Sequence[Record]) -> None:  # noqa: B027 (a search may well not care)
        """Learn from the evaluated children of a generation; only finite scores are told, higher is better."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `ask` and `tell` have changed, as JSON values; the base has no such state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Take up the state that `state_dict` returned."""
