"""NSGA-II: several objectives over the scales of a few genes, and a front in place of one best (Deb et al. 2002)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Generator, Tensor

from evoens.genome import Genome
from evoens.scoring.pareto import crowded_best, fronts, hypervolume
from evoens.search.base import Row
from evoens.search.replayed import Directed, mixtures
from evoens.strategy import Context, Record, Strategy

SENSES = {"score": 1, "diversity": 1, "nll": -1, "sparsity": 1, "size": -1}
"""Each objective that a YAML can name, and whether more of it is better."""
KEPT = {"score": "fitness"}  # a row of the population has the score by this name, and all others among its traits


class NSGA2(Directed):
    """Keeps the children that no other dominates, and breeds c ∈ R^k of those; see `Directed`.

    The first generation has children of one to k genes, each as far from the parent as any child of scale σ. From then
    on the n best of all children so far, by front and within a front by the room around them, are paired by binary
    tournaments. A child has each c_i of either parent (uniform cross-over), those that are not zero a little moved,
    and each is switched on or off with probability 1/k, so that genomes get shorter and longer.

    EvoTorch's own (0.6.1) is not used: it takes the order in which a front would be sorted by room for the ranks of
    that order, so that of the last front that has a place it keeps others than the paper does.

    A child that failed has the worst that its generation has reached by each objective.

    Args:
        strategy: see `Replayed`.
        objectives: two or more of `SENSES`.
        dimensions: k.
    """

    def __init__(self, strategy: Strategy, objectives: Sequence[str], dimensions: int) -> None:
        super().__init__(strategy, dimensions)
        self.objectives = tuple(objectives)
        self.traits = tuple(name for name in objectives if name not in KEPT)

    def ask(self, n: int, rng: Random, context: Context) -> list[Genome]:
        """See `Search`.

        Raises:
            SpecError: the Strategy has fewer directions.
        """
        self.awaited = mixtures(self.directions(rng), self._points(n, rng).tolist())
        return self.awaited

    def tell(self, records: Sequence[Record]) -> None:
        """See `Search`."""
        reached = {record.genome: self._values(record.score, record.traits) for record in records}
        worst = np.min(list(reached.values()), axis=0).tolist() if reached else [0.0] * len(self.objectives)
        self.told.append([reached.get(genome, worst) for genome in self.awaited])

    def figures(self) -> dict[str, float]:
        """Return the hypervolume of all children so far.

        It is above the worst that the first generation has reached by each objective, in units of what is between
        that and its best: so it can only grow.
        """
        first, found = np.array(self.told[0]), np.concatenate([np.array(values) for values in self.told])
        width = np.ptp(first, axis=0)
        scaled = (found - first.min(0)) / np.where(width, width, 1.0)
        return {"hypervolume": hypervolume(scaled, [0.0] * len(self.objectives))}

    def candidates(self, rows: Sequence[Row], n: int) -> list[Row]:
        """Return the front, then who only it dominates, and so on; of a front those with most room first."""
        whole = self._whole(rows)
        return [whole[place] for place in crowded_best(self._of(whole), n)]

    def report(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the front: `objectives`, whether `more` is better, and of each child its `key` and what it reached."""
        whole = self._whole(rows)
        children = [
            {"key": whole[place]["key"], **{name: _reached(whole[place], name) for name in self.objectives}}
            for place in next(fronts(self._of(whole)), [])
        ]
        more = [SENSES[name] > 0 for name in self.objectives]
        return {"front": {"objectives": list(self.objectives), "more": more, "children": children}}

    def _points(self, n: int, rng: Random) -> Tensor:
        """Return the points of the next generation, `(n, k)`: all draws and choices since the first are made anew."""
        drawn = torch.Generator().manual_seed(self.seed(rng))
        first, *later = [*map(len, self.told), n]
        parents, values = torch.zeros(0, self.dimensions, dtype=torch.float64), np.zeros((0, len(self.objectives)))
        children = self._first(first, drawn)
        for told, size in zip(self.told, later, strict=True):
            parents, values = torch.cat([parents, children]), np.concatenate([values, np.array(told)])
            best = crowded_best(values, len(told))
            parents, values = parents[best], values[best]
            children = self._bred(parents, size, drawn)
        return children

    def _first(self, n: int, drawn: Generator) -> Tensor:
        genes = torch.randint(1, self.dimensions + 1, (n, 1), generator=drawn)
        taken = torch.rand(n, self.dimensions, generator=drawn).argsort(1).argsort(1) < genes
        return torch.where(taken, _normals(n, self.dimensions, drawn) / genes.sqrt(), 0.0)

    def _bred(self, parents: Tensor, n: int, drawn: Generator) -> Tensor:
        """Return `n` children of parents of which the best come first."""
        k, spread = self.dimensions, 1 / math.sqrt(self.dimensions)
        mothers, fathers = parents[torch.randint(len(parents), (2, n, 2), generator=drawn).amin(-1)]
        children = torch.where(torch.rand(n, k, generator=drawn) < 0.5, mothers, fathers)
        moved = children + spread / 4 * _normals(n, k, drawn)
        other = torch.where(children == 0, spread * _normals(n, k, drawn), 0.0)
        switched = torch.rand(n, k, generator=drawn) < 1 / k
        children = torch.where(switched, other, torch.where(children == 0, 0.0, moved))
        one = torch.nn.functional.one_hot(torch.randint(k, (n,), generator=drawn), k) > 0
        empty = (children == 0).all(1, keepdim=True)  # which would be the parent
        return torch.where(empty & one, moved, children)

    def _values(self, score: float, traits: Any) -> list[float]:
        """Return what a child has reached by each objective, higher is better."""
        return [SENSES[name] * (score if name in KEPT else traits[name]) for name in self.objectives]

    def _of(self, rows: Sequence[Row]) -> list[list[float]]:
        return [self._values(row["fitness"], row["traits"]) for row in rows]

    def _whole(self, rows: Sequence[Row]) -> list[Row]:
        """Return those of whom all is known."""
        return [row for row in rows if None not in row["traits"].values()]


def _reached(row: Row, name: str) -> float:
    found: float = row[KEPT[name]] if name in KEPT else row["traits"][name]
    return found


def _normals(n: int, k: int, drawn: Generator) -> Tensor:
    return torch.randn(n, k, generator=drawn, dtype=torch.float64)
