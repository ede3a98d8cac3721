"""MAP-Elites: the Strategy breeds the best of each kind, kinds told apart by two measures (Mouret & Clune 2015)."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from random import Random
from typing import Any

from evoens.errors import SpecError
from evoens.genome import Genome
from evoens.search.archive import Archive, Elite
from evoens.search.base import Row, Search
from evoens.settings.base import NO_RIBS
from evoens.strategy import Context, Record, Strategy, ask, learn, learnt, tell


class MapElites(Search):
    """Has the Strategy ask on the elites of an archive, in an order that is drawn for each generation.

    The grid is laid around the first generation. Every elite is a candidate for the ensemble.

    Args:
        strategy: any.
        measures: two, of `evoens.diversity.behaviour`.
        cells: along each side of the grid.

    Raises:
        SpecError: pyribs is not there.
    """

    def __init__(self, strategy: Strategy, measures: Sequence[str], cells: int) -> None:
        super().__init__(strategy)
        if find_spec("ribs") is None:
            raise SpecError(f"search.by: {NO_RIBS}")
        self.traits, self.cells = tuple(measures), cells
        self.archive: Archive | None = None

    def ask(self, n: int, rng: Random, context: Context) -> list[Genome]:
        """See `Search`."""
        elites = [elite.genome for _, elite in self.archive.elites] if self.archive else []
        rng.shuffle(elites)
        return ask(self.strategy.within(elites=tuple(elites)), n, rng)

    def tell(self, records: Sequence[Record]) -> None:
        """See `Search`; the Strategy hears of all children, too."""
        tell(self.strategy, records)
        found = [Elite(r.genome, r.score, tuple(r.traits[name] for name in self.traits)) for r in records]
        if self.archive:
            self.archive.add(found)
        elif found:
            self.archive = Archive.around(found, self.cells)

    def figures(self) -> dict[str, float]:
        """Return the share of cells that somebody is in."""
        return {"coverage": len(self.archive.elites) / self.cells**2 if self.archive else 0.0}

    def candidates(self, rows: Sequence[Row], n: int) -> list[Row]:
        """Return the whole archive, the fittest first; where that is fewer than `n`, the fittest of all others too."""
        kept = {elite.genome.key for _, elite in self.archive.elites} if self.archive else set()
        found = sorted(rows, key=lambda row: (row["key"] not in kept, -row["fitness"]))
        return found[: max(n, len(kept))]

    def report(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the archive: its `measures`, `cells` a side, `ranges`, and the key, cell and values of each elite."""
        if self.archive is None:
            return {}
        elites = [
            {"key": e.genome.key, "cell": list(cell), "fitness": e.score, "measures": list(e.measures)}
            for cell, e in self.archive.elites
        ]
        shape = {"measures": list(self.traits), "cells": self.cells, "ranges": [list(r) for r in self.archive.ranges]}
        return {"archive": {**shape, "elites": elites}}

    def state_dict(self) -> dict[str, Any]:
        """Return the archive, and the Strategy's state."""
        return {"archive": self.archive.to_json() if self.archive else None, "strategy": learnt(self.strategy)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Search`."""
        learn(self.strategy, state["strategy"])
        self.archive = Archive.from_json(state["archive"]) if state["archive"] else None
