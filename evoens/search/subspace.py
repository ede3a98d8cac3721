"""Evolution in a random subspace: EvoTorch's algorithms over the scales of a few genes (cf. Li et al. 2018)."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evoens.errors import SpecError
from evoens.genome import Gene, Genome
from evoens.search.replayed import Replayed, draws, scaled
from evoens.strategy import Context, Strategy

if TYPE_CHECKING:
    from evotorch import Problem
    from evotorch.algorithms import SearchAlgorithm


class Subspace(Replayed):
    """Searches c ∈ R^k: a child is k genes of the Strategy, the same for all, the i-th c_i times as strong.

    The k genes are what the Strategy asks for, without those that differ from another in their sign alone; they are
    drawn once from the run's seed. A typical child of the first generation is as far from its parent as any child of
    scale σ, since ‖c‖ is 1 on average: k genes of σ/√k each. From then on the algorithm moves and shapes its
    distribution as it sees fit. The centre of the distribution is one of the children, but for the first generation,
    whose centre is the parent, and `ga`, which has a population in its place. What is missing to the number of children
    that are asked for (`pgpe` and `ga` go in pairs) is drawn around the centre, and the algorithm hears nothing of it.

    The algorithm is run anew from its seed for each generation, over the scores told so far. That takes it about a
    millisecond for each generation before, which is little beside measuring children for some hundreds of them.

    Args:
        strategy: see `Replayed`.
        algorithm: one of `ALGORITHMS`.
        dimensions: k.
    """

    def __init__(self, strategy: Strategy, algorithm: str, dimensions: int) -> None:
        super().__init__(strategy)
        self.algorithm, self.dimensions = algorithm, dimensions

    def ask(self, n: int, rng: Random, context: Context) -> list[Genome]:
        """See `Search`.

        Raises:
            SpecError: the Strategy has fewer directions, or another number of children was asked for before.
        """
        genes, popsize = self.directions(rng), n - n % 2 if self.algorithm == "ga" else n - 1
        if self.algorithm == "pgpe":
            popsize -= popsize % 2
        if self.told and len(self.told[0]) != popsize:
            raise SpecError(f"search.population: expected {len(self.told[0])} draws as before, found {popsize}")
        points, centre = self.asked(popsize, rng)
        around = [0.0] * self.dimensions if centre is None else centre
        own = len(points)
        if any(around):
            points.append(around)
        spread = 1 / math.sqrt(self.dimensions)
        points += [[rng.gauss(x, spread) for x in around] for _ in range(n - len(points))]
        genomes = [Genome(tuple(scaled(g, c) for g, c in zip(genes, point, strict=True) if c)) for point in points]
        self.awaited = genomes[:own]
        return genomes

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

    def asked(self, popsize: int, rng: Random) -> tuple[list[list[float]], list[float] | None]:
        """Return the points of the next generation, `popsize` × k, and their centre, None where there is none."""
        told = iter(self.told)

        def score(points: Tensor) -> Tensor:
            """Give the scores of a generation as long as they are told."""
            if (scores := next(told, None)) is None:
                raise _NextError(points.tolist())
            return torch.tensor(scores, dtype=torch.float64)

        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what torch deprecates is EvoTorch's affair
            torch.manual_seed(self.seed(rng))
            algorithm = start(self.algorithm, score, self.dimensions, popsize)
            try:
                while True:
                    algorithm.step()
            except _NextError as found:
                centre = algorithm.get_status_value("center").tolist() if self.algorithm != "ga" else None
                return found.points, centre


class _NextError(Exception):
    """Nobody has scored these points yet."""

    def __init__(self, points: list[list[float]]) -> None:
        super().__init__()
        self.points = points


def start(name: str, score: Callable[[Tensor], Tensor], dimensions: int, popsize: int) -> SearchAlgorithm:
    """Return one of EvoTorch's algorithms, about to maximise `score` from around zero; ‖c‖ is 1 on average.

    Args:
        name: one of `ALGORITHMS`.
        score: of `(n, k)` points, `(n,)`, in float64.
        dimensions: k.
        popsize: how many points a generation has.
    """
    log = logging.getLogger("evotorch")
    log.setLevel(logging.ERROR)
    from evotorch import Problem  # noqa: PLC0415 (seconds, for those alone who use it)

    log.setLevel(logging.ERROR)  # as it has set its own level meanwhile, to tell of every Problem
    side = math.sqrt(3 / dimensions)  # a uniform distribution of deviation 1/√k, for the population of `ga`
    problem = Problem(
        "max",
        score,
        solution_length=dimensions,
        initial_bounds=(-side, side),
        dtype=torch.float64,
        eval_dtype=torch.float64,
        vectorized=True,
        store_solution_stats=False,
    )
    return ALGORITHMS[name](problem, popsize)


def _cma_es(problem: Problem, popsize: int) -> SearchAlgorithm:
    from evotorch.algorithms import CMAES  # noqa: PLC0415

    zero = [0.0] * problem.solution_length
    return CMAES(problem, stdev_init=1 / math.sqrt(len(zero)), center_init=zero, popsize=popsize)


def _gaussian(name: str, **own: Any) -> Callable[[Problem, int], SearchAlgorithm]:
    """Return what makes the algorithm of that name, with settings of its own."""

    def make(problem: Problem, popsize: int) -> SearchAlgorithm:
        from evotorch import algorithms  # noqa: PLC0415

        zero = [0.0] * problem.solution_length
        algorithm: SearchAlgorithm = getattr(algorithms, name)(
            problem, stdev_init=1 / math.sqrt(len(zero)), center_init=zero, popsize=popsize, **own
        )
        return algorithm

    return make


def _ga(problem: Problem, popsize: int) -> SearchAlgorithm:
    from evotorch.algorithms import GeneticAlgorithm  # noqa: PLC0415
    from evotorch.operators import GaussianMutation, OnePointCrossOver  # noqa: PLC0415

    mutation = GaussianMutation(problem, stdev=0.5 / math.sqrt(problem.solution_length))
    operators: Sequence[object] = [OnePointCrossOver(problem, tournament_size=4), mutation]
    return GeneticAlgorithm(problem, operators=operators, popsize=popsize, re_evaluate=False)


ALGORITHMS: dict[str, Callable[[Problem, int], SearchAlgorithm]] = {
    "cma-es": _cma_es,
    "snes": _gaussian("SNES"),
    "xnes": _gaussian("XNES"),
    "pgpe": _gaussian("PGPE", center_learning_rate=1 / 30, stdev_learning_rate=0.1),  # for ‖c‖ = 1 (Toklu et al. 2020)
    "cem": _gaussian("CEM", parenthood_ratio=0.5),
    "ga": _ga,
}
"""EvoTorch's algorithms by the names of `search.by`, with its defaults where there are any."""
