"""Evolution in a random subspace: EvoTorch's algorithms over the scales of a few genes (cf. Li et al. 2018)."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from evoens.errors import SpecError
from evoens.genome import Genome
from evoens.search.replayed import Directed, mixtures
from evoens.strategy import Context, Strategy

if TYPE_CHECKING:
    from evotorch.algorithms import SearchAlgorithm


class Subspace(Directed):
    """Searches c ∈ R^k: a child is k genes of the Strategy, the same for all, the i-th c_i times as strong.

    A typical child of the first generation is as far from its parent as any child of scale σ, since ‖c‖ is 1 on
    average: k genes of σ/√k each. From then on the algorithm moves and shapes its distribution as it sees fit. The
    centre of the distribution is one of the children, but for the first generation, whose centre is the parent, and
    `ga`, which has a population in its place. What is missing to the number of children that are asked for (`pgpe` and
    `ga` go in pairs) is drawn around the centre, and the algorithm hears nothing of it.

    The algorithm is run anew from its seed for each generation, over the scores told so far. That takes it one
    or two milliseconds for each generation before: little beside measuring children, for some hundreds of them.

    Args:
        strategy: see `Replayed`.
        algorithm: one of `ALGORITHMS`.
        dimensions: k.
    """

    def __init__(self, strategy: Strategy, algorithm: str, dimensions: int) -> None:
        super().__init__(strategy, dimensions)
        self.algorithm = algorithm

    def ask(self, n: int, rng: Random, context: Context) -> list[Genome]:
        """See `Search`.

        Raises:
            SpecError: the Strategy has fewer directions, or another number of children was asked for before.
        """
        genes, popsize = self.directions(rng), n if self.algorithm == "ga" else n - 1
        if self.algorithm in ("pgpe", "ga"):
            popsize -= popsize % 2
        if self.told and len(self.told[0]) != popsize:
            raise SpecError(f"search.population: expected {len(self.told[0])} draws as before, found {popsize}")
        points, centre = self.asked(popsize, rng)
        if any(centre):
            points.append(centre)
        spread = 1 / math.sqrt(self.dimensions)
        points += [[rng.gauss(x, spread) for x in centre] for _ in range(n - len(points))]
        genomes = mixtures(genes, points)
        self.awaited = genomes[:popsize]
        return genomes

    def asked(self, popsize: int, rng: Random) -> tuple[list[list[float]], list[float]]:
        """Return the points of the next generation, `popsize` × k, and their centre, zero where there is none."""
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
                if self.algorithm == "ga":
                    return found.points, [0.0] * self.dimensions
                return found.points, algorithm.get_status_value("center").tolist()


class _NextError(Exception):
    """Ends EvoTorch's step at points that nobody has scored yet: its algorithms ask only by calling."""

    def __init__(self, points: list[list[float]]) -> None:
        super().__init__()
        self.points = points


ALGORITHMS: dict[str, tuple[str, dict[str, Any]]] = {
    "cma-es": ("CMAES", {}),
    "snes": ("SNES", {}),
    "xnes": ("XNES", {}),
    "pgpe": ("PGPE", {"center_learning_rate": 1 / 30, "stdev_learning_rate": 0.1}),  # for ‖c‖ = 1 (Toklu et al. 2020)
    "cem": ("CEM", {"parenthood_ratio": 0.5}),
    "ga": ("GeneticAlgorithm", {"re_evaluate": False}),
}
"""EvoTorch's classes by the names of `search.by`, and what they are given beyond where they start."""


def start(algorithm: str, score: Callable[[Tensor], Tensor], dimensions: int, popsize: int) -> SearchAlgorithm:
    """Return one of EvoTorch's algorithms, about to maximise `score` from around zero; ‖c‖ is 1 on average.

    Args:
        algorithm: one of `ALGORITHMS`.
        score: of `(n, k)` points, `(n,)`, in float64.
        dimensions: k.
        popsize: how many points a generation has.
    """
    log = logging.getLogger("evotorch")
    log.setLevel(logging.ERROR)
    from evotorch import Problem, algorithms, operators  # noqa: PLC0415 (seconds, for those alone who use it)

    log.setLevel(logging.ERROR)  # as it has set its own level meanwhile, to tell of every Problem
    spread = 1 / math.sqrt(dimensions)
    problem = Problem(
        "max",
        score,
        solution_length=dimensions,
        initial_bounds=(-math.sqrt(3) * spread, math.sqrt(3) * spread),  # the first population of `ga`, uniform
        dtype=torch.float64,
        eval_dtype=torch.float64,
        vectorized=True,
        store_solution_stats=False,
    )
    name, own = ALGORITHMS[algorithm]
    begin: dict[str, Any] = {"stdev_init": spread, "center_init": [0.0] * dimensions}
    if algorithm == "ga":
        crossing = operators.OnePointCrossOver(problem, tournament_size=4)
        begin = {"operators": [crossing, operators.GaussianMutation(problem, stdev=spread / 2)]}
    return getattr(algorithms, name)(problem, popsize=popsize, **begin, **own)
