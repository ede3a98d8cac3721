"""Children scored by how near their weights are to weights that are known to be the best: a search's oracle."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import torch
from evoens_strategies.noisy import Noisy
from tiny import tiny_parent
from torch import Tensor

from evoens import noise
from evoens.children import initial_weights
from evoens.genome import Gene, Genome
from evoens.search.base import Search
from evoens.search.replayed import scaled
from evoens.strategy import Context, Record, Strategy

SIGMA = 0.125  # a power of two, so that coordinates are read back from genomes to the bit


def strategy() -> Strategy:
    return Noisy(SIGMA).within(parent=tiny_parent())


class Bowl:
    """−‖w − w*‖², for the perturbed weights w of a child, in units of the parent's own."""

    def __init__(self, whose: Strategy, best: Tensor) -> None:
        self.whose, self.best = whose, best
        self.origin, self.steps = self.weights(Genome()), dict[Gene, Tensor]()
        self.parent = float(((self.origin - best) ** 2).sum())

    def weights(self, genome: Genome) -> Tensor:
        assert self.whose.parent is not None
        weights = initial_weights(self.whose.parent, self.whose, genome)
        return torch.cat([weight.double().flatten() for weight in weights.values()])

    def moved(self, genome: Genome) -> Tensor:
        steps = [gene.sign * gene.scale * self.step(replace(gene, sign=1, scale=1.0)) for gene in genome.genes]
        return torch.stack(steps).sum(0)

    def score(self, genome: Genome) -> float:
        return -float(((self.origin + self.moved(genome) - self.best) ** 2).sum()) / self.parent

    def record(self, search: Search, genome: Genome, number: int) -> Record:
        """The traits that a search asks for are how far each part of the weights has moved."""
        parts = self.moved(genome).abs().split(7)
        traits = {name: float(part.mean()) for name, part in zip(search.traits, parts, strict=False)}
        return Record(genome, self.score(genome), number, traits)

    def step(self, gene: Gene) -> Tensor:
        """Where a gene of scale 1 leads, by eq. 4.8 and in float64."""
        if gene not in self.steps:
            assert self.whose.parent is not None and gene.mask is not None
            shapes = {name: self.whose.parent.weights[name].shape for name in self.whose.parent.perturbed}
            drawn = [noise.normals(gene.seed, n, s).double() * noise.keep(gene.mask, n, s) for n, s in shapes.items()]
            self.steps[gene] = torch.cat([part.flatten() for part in drawn])
        return self.steps[gene]

    def best_of_random(self, genes: Sequence[Gene], n: int) -> float:
        """The best of `n` random mixtures of these genes."""
        rng, spread = Random(9), 1 / math.sqrt(len(genes))
        return max(self.score(mixture(genes, [rng.gauss(0, spread) for _ in genes])) for _ in range(n))


def mixture(genes: Sequence[Gene], weights: Sequence[float]) -> Genome:
    return Genome(tuple(scaled(gene, c) for gene, c in zip(genes, weights, strict=True)))


def generation(search: Search, number: int, n: int) -> list[Genome]:
    return search.ask(n, Random(f"run:generation:{number}"), Context(SIGMA, parent=search.strategy.parent))


def go(search: Search, bowl: Bowl, generations: int, n: int, first: int = 0) -> list[list[Genome]]:
    """Let a search ask and be told, its state through JSON, as a run does; return all that it has asked for."""
    asked = []
    for number in range(first, first + generations):
        genomes = generation(search, number, n)
        search.tell([bowl.record(search, genome, number) for genome in genomes])
        search.load_state_dict(json.loads(json.dumps(search.state_dict())))
        asked.append(genomes)
    return asked
