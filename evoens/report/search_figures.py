"""The pictures of what a search has found: a Pareto front, and an archive of kinds."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from evoens.report.style import BLUE, INK, QUIET, STYLE, WIDTH, Row, among, column, svg, titled


def front(rows: Sequence[Row], found: Sequence[str], members: Sequence[str], labels: dict[str, str]) -> str:
    """Draw every child by the first objective and each other, those of the front and the members marked.

    Args:
        rows: `{key, …}` with a number for each objective.
        found: the keys of the front.
        members: keys.
        labels: each objective's words at an axis, by its name in the rows; two or more.
    """
    first, *others = labels
    best, chosen = among(rows, found), among(rows, members)
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH if len(others) > 1 else 5.2, 3.8))
        for axis, other in zip(figure.subplots(1, len(others), squeeze=False)[0], others, strict=True):
            x, y = column(rows, first), column(rows, other)
            axis.plot(x[~best], y[~best], "o", color=QUIET, markersize=4.5, alpha=0.75, label="child")
            axis.plot(x[best], y[best], "o", color=BLUE, label="of the front")
            axis.plot(x[chosen], y[chosen], "D", color=INK, fillstyle="none", markersize=9, label="member")
            axis.locator_params(axis="x", nbins=4 if len(others) > 1 else 6)
            axis.margins(0.08)
            titled(axis, named(other), labels[first], labels[other])
        figure.legend(*axis.get_legend_handles_labels(), loc="outside lower left", ncols=3)
        return svg(figure)


def named(objective: str) -> str:
    """Return an objective as it stands in a head."""
    return "NLL" if objective == "nll" else objective.capitalize()


def archive(found: Row, members: Sequence[str], labels: Sequence[str], unit: str) -> str:
    """Draw the best fitness in each cell of the archive, the members marked.

    Args:
        found: `cells`, `ranges` and `elites` as report.json has them.
        members: keys.
        labels: the words of both measures at their axes.
        unit: of fitness.
    """
    grid = np.full((found["cells"], found["cells"]), np.nan)
    for elite in found["elites"]:
        grid[tuple(elite["cell"])] = elite["fitness"]
    x, y = (np.linspace(low, high, found["cells"] + 1) for low, high in found["ranges"])
    chosen = [elite["cell"] for elite in found["elites"] if elite["key"] in members]
    with mpl.rc_context(STYLE):
        figure = Figure((6.4, 4.8))
        axis = figure.subplots()
        axis.grid(visible=False)
        drawn = axis.pcolormesh(x, y, grid.T, cmap="viridis")
        middles = [((x[i] + x[i + 1]) / 2, (y[j] + y[j + 1]) / 2) for i, j in chosen]
        axis.plot(*np.reshape(middles, (-1, 2)).T, "D", color="white", markeredgecolor=INK, label="member")
        axis.locator_params(axis="x", nbins=5)
        figure.colorbar(drawn, label=f"fitness: {unit}").outline.set_visible(False)
        titled(axis, "The best child of each kind", *labels)
        figure.legend(loc="outside lower left")
        return svg(figure)
