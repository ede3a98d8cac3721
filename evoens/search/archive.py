"""The archive of MAP-Elites: a grid over two measures, and the best so far in each of its cells; by pyribs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evoens.genome import Genome

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Elite:
    """A child with its score, and what it is by each of the two measures."""

    genome: Genome
    score: float
    measures: tuple[float, ...]


class Archive:
    """Keeps the best child of each kind (Mouret & Clune 2015); a child beyond the grid belongs to the cell at its edge.

    Args:
        cells: along each side.
        ranges: from where to where the grid goes by each of the two measures.
        elites: who are in it from the start.
    """

    def __init__(self, cells: int, ranges: Sequence[Range], elites: Sequence[Elite] = ()) -> None:
        from ribs.archives import GridArchive  # noqa: PLC0415 (seconds, for those alone who use it)

        self.cells, self.ranges, self._seen = cells, [*ranges], list[Elite]()
        self._grid = GridArchive(solution_dim=1, dims=[cells, cells], ranges=self.ranges)
        self.add(elites)

    @classmethod
    def around(cls, elites: Sequence[Elite], cells: int) -> Archive:
        """Return one for these: they fill the middle half of it by each measure, as far as that is not below zero."""
        values = np.array([elite.measures for elite in elites])
        low, width = values.min(0), np.ptp(values, axis=0)
        half = np.where(width, width, 1.0) / 2
        starts, ends = np.maximum(low - half, 0.0), low + width + half
        return cls(cells, list(zip(starts.tolist(), ends.tolist(), strict=True)), elites)

    def add(self, elites: Sequence[Elite]) -> None:
        """Put each into its cell, unless one as good is there; of equal ones the first stays."""
        if not elites:
            return
        places = np.arange(len(self._seen), len(self._seen) + len(elites))
        self._seen += elites
        self._grid.add(places[:, None], [elite.score for elite in elites], [elite.measures for elite in elites])

    @property
    def elites(self) -> list[tuple[tuple[int, int], Elite]]:
        """Who are in it, each with its cell by the first and the second measure, in the order of the cells."""
        kept = self._grid.data(["index", "solution"])
        rows = sorted(zip(kept["index"].tolist(), kept["solution"][:, 0].astype(int).tolist(), strict=True))
        return [((index // self.cells, index % self.cells), self._seen[place]) for index, place in rows]

    def to_json(self) -> dict[str, Any]:
        """Return plain values; `from_json` is the inverse."""
        rows = [[elite.genome.to_json(), elite.score, list(elite.measures)] for _, elite in self.elites]
        return {"cells": self.cells, "ranges": [list(one) for one in self.ranges], "elites": rows}

    @classmethod
    def from_json(cls, state: dict[str, Any]) -> Archive:
        """Return what `to_json` gave."""
        elites = [Elite(Genome.from_json(genome), score, tuple(own)) for genome, score, own in state["elites"]]
        return cls(state["cells"], [(low, high) for low, high in state["ranges"]], elites)
