"""What searches over a Strategy's genes have in common: directions to go in, and a state of scores that is replayed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

from evoens.errors import SpecError
from evoens.genome import Gene, Genome
from evoens.search.base import Search
from evoens.strategy import Record, Strategy, ask

TRIED = 64  # genes that are looked at before a run: some Strategies do not ask for the same kind each time


class Replayed(Search):
    """A Search that keeps a seed and the scores it was told, and finds all else from them anew.

    So it resumes to the same bits, whatever it is inside. A child that failed, or equals another, has the lowest score
    of its generation: no algorithm is told of a number that nobody measured.

    Args:
        strategy: see `Search`; what it asks for must be one gene each, with a scale.

    Attributes:
        told: the scores of each generation, of as many children as the subclass has `awaited`.

    Raises:
        SpecError: the Strategy has no scale, or children of several genes.
    """

    def __init__(self, strategy: Strategy) -> None:
        super().__init__(strategy)
        self.told: list[list[Any]] = []
        self.awaited: list[Genome] = []
        self._seed: int | None = None
        name = type(strategy).__name__
        if not strategy.scaled:
            raise SpecError(f"search.by: {name} has no scale to search by; expected elites")
        draws(strategy, TRIED, Random(0))

    def seed(self, rng: Random) -> int:
        """Return the seed of the whole search, drawn from the run's randomness the first time."""
        if self._seed is None:
            self._seed = rng.getrandbits(63)
        return self._seed

    def tell(self, records: Sequence[Record]) -> None:
        """See `Search`."""
        scores = {record.genome: record.score for record in records}
        lowest = min(scores.values(), default=0.0)
        self.told.append([scores.get(genome, lowest) for genome in self.awaited])

    def state_dict(self) -> dict[str, Any]:
        """Return the seed, and the scores of each generation."""
        return {"seed": self._seed, "told": self.told}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Search`."""
        self._seed, self.told = state["seed"], [list(scores) for scores in state["told"]]


class Directed(Replayed):
    """A Search among mixtures of k genes of the Strategy, the same for all children: a child is c ∈ R^k.

    The k genes are what the Strategy asks for, without those that differ from another in their sign alone; they are
    drawn once from the run's seed.

    Args:
        strategy: see `Replayed`.
        dimensions: k.
    """

    def __init__(self, strategy: Strategy, dimensions: int) -> None:
        super().__init__(strategy)
        self.dimensions = dimensions

    def directions(self, rng: Random) -> list[Gene]:
        """Return the k genes, each with the Strategy's scale.

        Raises:
            SpecError: the Strategy has fewer.
        """
        again, found = Random(self.seed(rng)), dict[Gene, Gene]()
        while len(found) < self.dimensions:
            before = len(found)
            for gene in draws(self.strategy, self.dimensions, again):
                found.setdefault(replace(gene, sign=1), gene)
            if len(found) == before:
                name = type(self.strategy).__name__
                raise SpecError(f"search.dimensions: expected at most {before}, as {name} has, found {self.dimensions}")
        return list(found.values())[: self.dimensions]


def mixtures(genes: Sequence[Gene], points: Sequence[Sequence[float]]) -> list[Genome]:
    """Return the child at each point c ∈ R^k: the i-th gene c_i times as strong, left out where c_i is 0."""
    return [Genome(tuple(scaled(g, c) for g, c in zip(genes, point, strict=True) if c)) for point in points]


def draws(strategy: Strategy, n: int, rng: Random) -> list[Gene]:
    """Return `n` genes that the Strategy asks for around the parent.

    Raises:
        SpecError: its children have several genes.
    """
    genomes = ask(strategy.within(elites=()), n, rng)
    if any(len(genome.genes) != 1 for genome in genomes):
        name = type(strategy).__name__
        raise SpecError(f"search.by: a child of {name} is several genes, which no number scales; expected elites")
    return [genome.genes[0] for genome in genomes]


def scaled(gene: Gene, by: float) -> Gene:
    """Return the gene that goes `by` times as far; a scale stays positive, and the sign tells the side."""
    return replace(gene, scale=gene.scale * abs(by), sign=gene.sign if by > 0 else -gene.sign)
