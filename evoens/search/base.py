"""The Search: asks for the genomes of a generation, and is told what they score. Subclass it for one of your own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

from evoens.genome import Genome
from evoens.strategy import Context, Record, Strategy

Row = Mapping[str, Any]
"""A child as in population.jsonl: `{key, genome, generation, status, fitness}`, and `traits` where any are measured."""


class Search(ABC):
    """Makes the next genomes from scores: `ask` is the only method that must be written.

    `search.by` of a YAML names one of your own, as `my.py:Class`. Any search goes with any Strategy, which rebuilds
    what it asks for:

        class Fresh(Search):
            def ask(self, n, rng, context):
                return self.strategy.within(elites=()).ask(n, rng)

    Args:
        strategy: what children are made by, with σ, scope and parent as the run has found them.

    Attributes:
        traits: what each child is measured by beside its score, of the names that `search.objectives` and
            `search.measures` of a YAML know; a child of which one is not finite is told as if it had failed.
    """

    traits: Sequence[str] = ()

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy

    @abstractmethod
    def ask(self, n: int, rng: Random, context: Context) -> list[Genome]:
        """Return `n` new genomes; all randomness comes from `rng`.

        context: the σ that was settled, the scope, the parent, and the best children so far.
        """

    def tell(self, records: Sequence[Record]) -> None:  # noqa: B027 (a search may well not care)
        """Learn from the evaluated children of a generation; only finite scores are told, higher is better."""

    def figures(self) -> dict[str, float]:
        """Return how far the search has come, numbers by name, for each generation's record; the base has none."""
        return {}

    def candidates(self, rows: Sequence[Row], n: int) -> list[Row]:
        """Return the children that may become members, the best first: here the `n` of the highest fitness.

        rows: all different children that did not fail, in the order in which they were measured.
        """
        return sorted(rows, key=lambda row: -row["fitness"])[:n]

    def report(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return what report.json has of this search alone, JSON by its keys there; the base has nothing.

        rows: as for `candidates`.
        """
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that `ask` and `tell` have changed, as JSON values; the base has no such state."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Take up the state that `state_dict` returned."""
