"""OpenAI's evolution strategy: a centre that all draws of a generation move, in all weights (Salimans et al. 2017)."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from random import Random

from evoens.genome import Gene, Genome
from evoens.search.replayed import Replayed, draws, scaled
from evoens.strategy import Context

MOMENTUM = 0.5

Steps = dict[Gene, float]
"""How far to go along each gene, in multiples of its scale."""


class EvolutionStrategy(Replayed):
    """Draws children around a centre, and moves it by each draw as its rank says; at first it is the parent.

    The draws are the Strategy's genes of scale σ, mirrored as it asks for them. A generation's estimate is the mean of
    all draws, each weighted by its centred rank, so that the good ones attract and the bad ones repel; the step is half
    of it and half of the step before (momentum). Adam, which Salimans et al. use, has a step size of its own for every
    weight of the network, so that no genes could say where it went.

    A Search is told no KL divergence that it could bound. But as the absolute weights of a mean sum to one, no step is
    longer than a child of scale σ is away; and near the centre KL is a square of the step, which is convex, so no step
    leaves the centre by more than children do on average: at σ that is the trust region's target, as far as the network
    is about the centre what it is about the parent.

    The centre is a genome, too: the genes of all draws so far, with their weights. It grows by one for each pair of
    draws, so this search is for some dozens of generations. It is a child of every generation but the first.
    """

    def ask(self, n: int, rng: Random, context: Context) -> list[Genome]:
        """See `Search`."""
        self.seed(rng)
        centre = self.centre()
        itself = [centre] if centre.genes else []
        self.awaited = [centre.stacked(gene) for gene in self._draws(len(self.told), n - len(itself))]
        return [*self.awaited, *itself]

    def centre(self) -> Genome:
        """Return where the scores told so far have led; the parent's genome before there are any."""
        centre, step = Steps(), Steps()
        for number, scores in enumerate(self.told):
            step = _mixed(MOMENTUM, step, 1 - MOMENTUM, estimate(self._draws(number, len(scores)), scores))
            centre = _mixed(1.0, centre, 1.0, step)
        return Genome(tuple(scaled(gene, x) for gene, x in centre.items() if x))

    def _draws(self, generation: int, n: int) -> list[Gene]:
        return draws(self.strategy, n, Random(f"{self._seed}:{generation}"))


def estimate(genes: Sequence[Gene], scores: Sequence[float]) -> Steps:
    """Return the mean of all draws, weighted by the centred ranks of their scores; Σ|weight| is 1, or 0 where all tie.

    Mirrored draws become one: what counts is which of the two is better, and by how many ranks.
    """
    ranking, n = sorted(scores), len(scores)
    ranks = [(bisect_left(ranking, s) + bisect_right(ranking, s) - n) / 2 for s in scores]  # equal scores share a rank
    whole, found = math.fsum(map(abs, ranks)) or 1.0, Steps()
    for gene, rank in zip(genes, ranks, strict=True):
        direction = replace(gene, sign=1)
        found[direction] = found.get(direction, 0.0) + gene.sign * rank / whole
    return found


def _mixed(share: float, steps: Steps, other: float, more: Steps) -> Steps:
    """Return `share · steps + other · more`."""
    return {gene: share * steps.get(gene, 0.0) + other * more.get(gene, 0.0) for gene in {**steps, **more}}
