"""The lineage of a population: every child by generation and fitness, and which elite it comes from."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from evoens.report.style import BLUE, INK, QUIET, STYLE, WIDTH, Floats, Row, among, column, generation_axes, titled


def lineage(rows: Sequence[Row], members: Sequence[str], parent: float | None, unit: str) -> Figure:
    """Draw the fitness of every child by generation, joined to the elite whose genome it has and one gene more.

    The ancestors of the ensemble's members are traced in blue. The children of a generation lie side by side; those of
    the first come from the parent itself, and are joined to nothing.

    Args:
        rows: those of population.jsonl that have a fitness, with the generation to be shown.
        members: keys.
        parent: its fitness, if it is known.
        unit: of fitness.
    """
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 3.4))
        axis = figure.subplots()
        x, y, chosen = _side_by_side(rows), column(rows, "fitness"), among(rows, members)
        mothers = _mothers(rows)
        traced = {child for place in np.flatnonzero(chosen) for child in _line(int(place), mothers)}
        for child, mother in mothers.items():
            colour, width, order = (BLUE, 1.2, 2) if child in traced else ("#d0d0d0", 0.8, 1)
            axis.plot(x[[mother, child]], y[[mother, child]], color=colour, linewidth=width, zorder=order)
        axis.plot(x[~chosen], y[~chosen], "o", color=QUIET, markersize=4.5, alpha=0.75, label="child", zorder=3)
        if chosen.any():
            axis.plot(x[chosen], y[chosen], "D", color=BLUE, markersize=6.5, label="member of the ensemble", zorder=4)
        if parent is not None:
            axis.axhline(parent, color=INK, linestyle="--", linewidth=1.4, label="parent")
        axis.grid(axis="x", visible=False)
        titled(axis, "Every child's fitness (search split), and whom it comes from", "", unit)
        generation_axes([axis], np.unique(column(rows, "generation")))
        figure.legend(loc="outside lower center", ncols=3)
        return figure


def _mothers(rows: Sequence[Row]) -> dict[int, int]:
    """Which row each row's genome is one gene longer than: places by places."""
    places = {_text(row["genome"]): place for place, row in enumerate(rows)}
    found = ((place, places.get(_text(row["genome"][:-1]))) for place, row in enumerate(rows) if row["genome"])
    return {child: mother for child, mother in found if mother is not None}


def _text(genome: Sequence[Row]) -> str:
    return json.dumps(genome, sort_keys=True)


def _line(child: int, mothers: dict[int, int]) -> Iterator[int]:
    """A row and all it comes from that has a mother itself."""
    place: int | None = child
    while place in mothers:
        yield place
        place = mothers.get(place)


def _side_by_side(rows: Sequence[Row]) -> Floats:
    generation = column(rows, "generation")
    x = generation.copy()
    for g in np.unique(generation):
        here = np.flatnonzero(generation == g)
        x[here] += np.linspace(-0.32, 0.32, len(here)) if len(here) > 1 else 0
    return x
