"""The pictures of a table: what methods reach over what they cost, with the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from evoens.report.style import BLUE, INK, QUIET, STYLE, WIDTH, svg, titled
from evoens.tables.summary import front

Row = Mapping[str, Any]
TICKS = 3  # along a cost
AXES = {
    "training_flops": "operations of training",
    "answer_flops": "operations of an answer",
    "weights": "numbers to keep",
}


def over_costs(rows: Sequence[Row], measure: Row) -> str:
    """Draw a measure over each cost, a point for every row, those of the front joined and named.

    Args:
        rows: as table.json has them.
        measure: `name`, `label`, `unit`, `higher_is_better`.
    """
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 3.9))
        for axis, (cost, label) in zip(figure.subplots(1, len(AXES), sharey=True), AXES.items(), strict=True):
            _panel(axis, [row for row in rows if row["cost"][cost]], measure, cost)
            titled(axis, "", f"{label} (log)", measure["label"] if cost == "training_flops" else "")
        return svg(figure)


def _panel(axis: Axes, rows: Sequence[Row], measure: Row, cost: str) -> None:
    best = set(front(rows, measure, cost))
    axis.set_xscale("log")
    costs = [row["cost"][cost] for row in rows]
    axis.set_xticks(np.unique(np.geomspace(min(costs), max(costs), TICKS)) if rows else [])
    axis.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:.2g}"))
    axis.minorticks_off()
    points = {row["label"]: (row["cost"][cost], row["scores"][measure["name"]]) for row in rows}
    line = sorted((x, own["mean"]) for label, (x, own) in points.items() if label in best)
    axis.plot([x for x, _ in line], [y for _, y in line], color=BLUE, linewidth=1, alpha=0.6)
    for place, (label, (x, own)) in enumerate(points.items(), 1):
        colour = BLUE if label in best else QUIET
        axis.errorbar(x, own["mean"], own["sd"] or 0, fmt="o", color=colour, elinewidth=1)
        side, shift = ("left", 4) if place % 2 else ("right", -4)  # many rows have the same budget
        at, beside = (x, own["mean"]), (shift, 0)
        axis.annotate(str(place), at, beside, textcoords="offset points", ha=side, va="center", color=INK, fontsize=8)
    axis.margins(0.12)
