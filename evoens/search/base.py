"""The Search: asks for the genomes of a generation, and is told what they score. Subclass it for one of your own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from random import Random
from typing import Any

from evoens.errors import SpecError
from evoens.genome import Genome
from evoens.plugins.guest import guest
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


def ask(search: Search, n: int, rng: Random, context: Context) -> list[Genome]:
    """Return the genomes that a search asks for.

    Raises:
        SpecError: it raised something, or did not give `n` genomes.
    """
    whose = f"{type(search).__name__}.ask({n})"
    with guest(whose):
        genomes = list(search.ask(n, rng, context))
    if len(genomes) != n or not all(isinstance(genome, Genome) for genome in genomes):
        raise SpecError(f"{whose}: expected {n} genomes, found {len(genomes)}")
    return genomes


def tell(search: Search, records: Sequence[Record]) -> None:
    """Tell a search what its children have scored; SpecError where it raises something."""
    with guest(f"{type(search).__name__}.tell"):
        search.tell(records)


def state_of(search: Search) -> dict[str, Any]:
    """Return a search's state; SpecError where it raises something."""
    with guest(f"{type(search).__name__}.state_dict"):
        return search.state_dict()


def resume(search: Search, state: dict[str, Any]) -> None:
    """Have a search take up its state; SpecError where it raises something."""
    with guest(f"{type(search).__name__}.load_state_dict"):
        search.load_state_dict(state)
