"""EvoTorch's algorithms over the scales of a few genes: they find what is best there, and are EvoTorch's to the bit."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from random import Random

import pytest
import torch
from bowl import Bowl, generation, go, mixture, strategy
from evoens_strategies.noisy import Noisy
from evoens_strategies.reflected import Reflected
from evoens_strategies.sparse import Sparse
from torch import Tensor

from evoens.contract.subject import small_parent
from evoens.errors import SpecError
from evoens.genome import Gene, Genome
from evoens.search.replayed import scaled
from evoens.search.subspace import ALGORITHMS, Subspace
from evoens.settings.base import PARETO, SUBSPACES
from evoens.strategy import Record

K, N = 8, 16


def subspace(algorithm: str, k: int = K) -> Subspace:
    return Subspace(strategy(), algorithm, k)


def directions(search: Subspace) -> list[Gene]:
    return search.directions(Random("run:generation:0"))


def coordinates(search: Subspace, genome: Genome) -> list[float]:
    """c, read from the genome."""
    sigma, found = search.strategy.sigma, {(g.seed, g.mask): g for g in genome.genes}
    genes = [(gene, found.get((gene.seed, gene.mask))) for gene in directions(search)]
    return [0.0 if own is None else own.sign * gene.sign * own.scale / sigma for gene, own in genes]


def test_all_that_a_yaml_can_name_are_there() -> None:
    assert {*ALGORITHMS, PARETO} == set(SUBSPACES)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_each_comes_nearer_to_the_best_mixture_than_as_many_random_ones(algorithm: str) -> None:
    search = subspace(algorithm)
    rng = Random(5)
    wanted = [rng.gauss(0, 1) for _ in range(K)]
    length = math.hypot(*wanted)
    genes = directions(search)
    origin = Bowl(search.strategy, torch.zeros(()))
    bowl = Bowl(search.strategy, origin.weights(mixture(genes, [c / length for c in wanted])))  # as far as a child
    asked = go(subspace(algorithm), bowl, 16, N)
    best = [max(map(bowl.score, genomes)) for genomes in asked]
    assert max(best) > 0.5 * bowl.best_of_random(genes, 16 * N)
    assert best[-1] > best[0]


@pytest.mark.parametrize("algorithm", ["cma-es", "snes"])
def test_it_is_evotorchs_own_algorithm_on_the_same_draws(algorithm: str) -> None:
    """Run by hand, as its manual says, on the same quadratic; the centres are those between its steps."""
    from evotorch import Problem
    from evotorch import algorithms as theirs

    search, target = subspace(algorithm), torch.linspace(-1, 1, K, dtype=torch.float64)

    def quadratic(points: Tensor) -> Tensor:
        return -((points - target) ** 2).sum(-1)

    seen: list[list[list[float]]] = []
    for number in range(6):
        genomes = generation(search, number, N)
        points = torch.tensor([coordinates(search, genome) for genome in genomes], dtype=torch.float64)
        scores = quadratic(points).tolist()
        search.tell([Record(genome, score, number) for genome, score in zip(genomes, scores, strict=True)])
        seen.append(points.tolist())

    drawn: list[list[list[float]]] = []
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(search.state_dict()["seed"])
        problem = Problem(
            "max", quadratic, solution_length=K, initial_bounds=(-1, 1), vectorized=True, dtype=torch.float64
        )
        problem.before_eval_hook.append(lambda batch: drawn.append(batch.values.tolist()))
        start = {"stdev_init": 1 / math.sqrt(K), "center_init": [0.0] * K, "popsize": N - 1}
        searcher = {"cma-es": theirs.CMAES, "snes": theirs.SNES}[algorithm](problem, **start)
        searcher.step()
        centres = []
        for _ in range(5):
            if algorithm == "cma-es":  # which moves at the end of a step, SNES at the beginning
                centres.append(searcher.status["center"].tolist())
            searcher.step()
            if algorithm == "snes":
                centres.append(searcher.status["center"].tolist())
    assert [points[: N - 1] for points in seen] == drawn
    assert [points[N - 1] for points in seen[1:]] == centres


def test_directions_are_the_strategys_genes_without_their_mirror_images() -> None:
    search = subspace("snes", 11)
    genes = directions(search)
    assert len({(gene.seed, gene.mask) for gene in genes}) == 11
    assert {gene.mask.part for gene in genes if gene.mask} == {0, 1} and {gene.scale for gene in genes} == {0.125}
    assert genes == directions(search) != directions(subspace("snes", 11))[::-1]
    other = subspace("snes", 11)
    assert genes[0] not in other.directions(Random("another"))


def test_children_of_the_first_generation_are_as_far_away_as_others() -> None:
    search, single = subspace("cma-es", 16), strategy()
    bowl = Bowl(single, torch.zeros(()))
    origin = bowl.weights(Genome())

    def away(genomes: list[Genome]) -> float:
        return math.sqrt(sum(float(((bowl.weights(g) - origin) ** 2).sum()) for g in genomes) / len(genomes))

    usual = away(single.ask(64, Random(1)))
    assert 0.85 * usual < away(generation(search, 0, 64)) < 1.15 * usual


def test_a_gene_that_is_scaled_keeps_a_positive_scale() -> None:
    gene = Noisy(0.5).ask(1, Random(0))[0].genes[0]
    assert scaled(gene, -3.0) == Gene(gene.seed, 1.5, -gene.sign, gene.mask)


def test_who_has_no_scale_or_several_genes_is_refused_at_once() -> None:
    with pytest.raises(SpecError, match=r"search\.by: Sparse has no scale to search by; expected elites"):
        Subspace(Sparse(), "snes", K)
    turned = Reflected(0.1).within(parent=small_parent())
    with pytest.raises(SpecError, match=r"search\.by: a child of Reflected is several genes"):
        Subspace(turned, "snes", K)


def test_a_strategy_of_few_genes_says_how_many_directions_it_has() -> None:
    class Few(Noisy):
        def ask(self, n: int, rng: Random) -> list[Genome]:
            return (super().ask(4, Random(0)) * n)[:n]

    search = Subspace(Few(0.1).within(parent=strategy().parent), "snes", 3)
    with pytest.raises(SpecError, match=r"search\.dimensions: expected at most \d, as Few has, found 3"):
        generation(search, 0, N)


def test_another_population_than_before_is_refused() -> None:
    search = subspace("snes")
    go(search, Bowl(search.strategy, torch.zeros(())), 1, N)
    with pytest.raises(SpecError, match=r"search\.population: expected 15 draws as before, found 7"):
        generation(search, 1, 8)


def test_evotorch_says_nothing_and_ray_does_not_start() -> None:
    source = (
        "import logging\nlogging.basicConfig()\n"  # as a user may have
        "from random import Random\nfrom evoens.search.subspace import Subspace\nfrom evoens.strategy import Context\n"
        "from evoens_strategies.noisy import Noisy\nSubspace(Noisy(0.1), 'cma-es', 4).ask(8, Random(0), Context(0.1))\n"
        "import ray\nassert not ray.is_initialized()\n"
    )
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
