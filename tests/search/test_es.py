"""The evolution strategy: its centre is a genome, goes where it is better, and never further than a child at a time."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
import torch
from bowl import SIGMA, Bowl, generation, go, strategy
from evoens_strategies.noisy import Noisy
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata

from evoens.genome import Gene, Genome
from evoens.search.es import MOMENTUM, EvolutionStrategy, estimate
from evoens.strategy import Context, Record

N = 16


def offset() -> Bowl:
    """A bowl whose bottom lies off the parent in every weight, a little further than a child is."""
    whose = strategy()
    origin = Bowl(whose, torch.zeros(())).weights(Genome())
    noise = torch.randn(len(origin), generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return Bowl(whose, origin + SIGMA * noise)


def test_the_centre_comes_nearer_to_the_best_than_as_many_random_children() -> None:
    bowl = offset()
    search = EvolutionStrategy(bowl.whose)
    go(search, bowl, 20, 2 * N)
    assert bowl.score(search.centre()) > -0.5
    assert max(bowl.score(genome) for genome in bowl.whose.ask(20 * 2 * N, Random(1))) < -0.8


def test_each_step_is_the_mean_by_centred_ranks_with_momentum_to_rounding() -> None:
    """Against the definition, in NumPy, over dense weights."""
    bowl = offset()
    search = EvolutionStrategy(bowl.whose)
    origin = bowl.weights(Genome()).numpy()
    centre, step = origin, np.zeros_like(origin)
    for number in range(4):
        genomes = generation(search, number, N)
        drawn = genomes if number == 0 else genomes[:-1]
        moved = np.stack([bowl.weights(genome).numpy() for genome in drawn]) - centre
        scores = [bowl.score(genome) for genome in genomes]
        search.tell([Record(genome, score, number) for genome, score in zip(genomes, scores, strict=True)])
        ranks = rankdata(scores[: len(drawn)]) - (len(drawn) + 1) / 2
        step = MOMENTUM * step + (1 - MOMENTUM) * ranks @ moved / np.abs(ranks).sum()
        centre = centre + step
        found = bowl.weights(search.centre()).numpy()
        np.testing.assert_allclose(found, centre, atol=2e-6)
        assert generation(search, number + 1, N)[-1] == search.centre()


def test_children_are_draws_around_the_centre_and_the_centre_itself() -> None:
    bowl = offset()
    search = EvolutionStrategy(bowl.whose)
    first, second = go(search, bowl, 2, N)
    assert all(len(genome.genes) == 1 for genome in first)  # around the parent, which is no child
    centre = second[-1]
    assert {(g.seed, g.mask) for g in centre.genes} <= {(c.genes[0].seed, c.genes[0].mask) for c in first}
    assert all(genome.genes[:-1] == centre.genes and genome.genes[-1].scale == SIGMA for genome in second[:-1])


@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=24))
def test_no_step_is_longer_than_a_child(scores: list[float]) -> None:
    genes = [genome.genes[0] for genome in strategy().ask(len(scores), Random(3))]
    weights = estimate(genes, scores)
    assert math.fsum(map(abs, weights.values())) <= 1 + 1e-9
    assert all(gene.scale == SIGMA and gene.sign == 1 for gene in weights)


@pytest.mark.parametrize(("scores", "better"), [([1.0, 0.0], 1.0), ([0.0, 1.0], -1.0), ([2.0, 2.0], 0.0)])
def test_mirrored_draws_become_one_direction(scores: list[float], better: float) -> None:
    assert estimate([Gene(1, 0.1, 1), Gene(1, 0.1, -1)], scores) == {Gene(1, 0.1): better}


def test_equal_scores_move_nothing_so_that_all_children_are_drawn_again() -> None:
    search = EvolutionStrategy(strategy())
    search.tell([Record(genome, 0.5, 0) for genome in generation(search, 0, N)])
    assert search.centre() == Genome() and len({genome.key for genome in generation(search, 1, N)}) == N


def test_the_centre_is_the_sum_of_steps_with_momentum() -> None:
    search, rng = EvolutionStrategy(Noisy(sigma=0.5)), Random(0)
    estimates = []
    for scores in ([3.0, 1.0, 2.0, 0.0], [0.0, 5.0, 1.0, 2.0]):
        search.ask(4 + bool(search.told), rng, Context(0.5))
        estimates.append(estimate([genome.genes[-1] for genome in search.awaited], scores))
        search.told.append(scores)
    expected = {(gene.seed, gene.mask): 0.75 * x for gene, x in estimates[0].items()}  # half of it, and a quarter
    expected |= {(gene.seed, gene.mask): 0.5 * x for gene, x in estimates[1].items()}
    found = {(gene.seed, gene.mask): gene.sign * gene.scale / 0.5 for gene in search.centre().genes}
    assert found == pytest.approx({key: x for key, x in expected.items() if x})
