"""How the figures of a report look, and how one becomes the text of an SVG."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator
from numpy.typing import NDArray

Row = Mapping[str, Any]
Floats = NDArray[np.float64]

WIDTH = 9.6  # inches: at 96 pixels an inch just under the page's 960
INK, QUIET = "#333333", "#8a8a8a"
BLUE, VERMILLION, GREEN, ORANGE = "#0072b2", "#d55e00", "#009e73", "#e69f00"  # Okabe & Ito 2008
STYLE: Any = {
    "svg.hashsalt": "evoens",  # ids by content, so that a figure is the same bytes each time
    "text.parse_math": False,  # a user's "$" is a dollar
    "figure.dpi": 72,  # an SVG's, so that it is laid out once and for all
    "font.family": "DejaVu Sans",  # comes with matplotlib: the same layout on every machine
    "font.size": 9.5,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e6e6e6",
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "lines.linewidth": 1.8,
    "lines.markersize": 5,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "figure.constrained_layout.w_pad": 0.08,
    "figure.constrained_layout.h_pad": 0.06,
}


def column(rows: Sequence[Row], *path: str) -> Floats:
    """Return one number of each row, `(n,)`; NaN, which no line is drawn through, where a row has none."""

    def value(row: Any) -> float:
        for name in path:
            row = (row or {}).get(name)
        return float("nan") if row is None else float(row)

    return np.array([value(row) for row in rows], float)


def titled(axis: Axes, title: str, x: str, y: str = "") -> None:
    """Name an axis and what its two directions are."""
    axis.set_title(title)
    axis.set_xlabel(x)
    axis.set_ylabel(y)


def among(rows: Sequence[Row], keys: Sequence[str]) -> NDArray[np.bool_]:
    """Return which rows have one of these keys, `(n,)`."""
    return np.array([row["key"] in keys for row in rows], bool)


def generation_axes(axes: Iterable[Axes], x: Floats) -> None:
    """Count generations along the axes: whole numbers, with room on either side."""
    for axis in axes:
        axis.set_xlabel("generation")
        axis.set_xlim(x.min() - 0.5, x.max() + 0.5)
        axis.xaxis.set_major_locator(FixedLocator(x.tolist()) if len(x) < 7 else MaxNLocator(nbins=6, integer=True))


def log_sigma(axis: Axes, sigma: Floats) -> None:
    """Count σ along the axis, logarithmic, with a tick for each that was measured."""
    axis.set_xscale("log")
    axis.set_xticks(sigma, [f"{s:g}" for s in sigma], rotation=45)
    axis.minorticks_off()


def plain(value: float, _: int | None = None) -> str:
    """Return a number without an exponent: 0.00001, as a reader of a page writes it."""
    return np.format_float_positional(value, precision=3, fractional=False, trim="-")


def png(figure: Figure) -> bytes:
    """Return the figure as the bytes of a PNG, for what has too many marks for an SVG."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def svg(figure: Figure) -> str:
    """Return the figure as the text of an SVG."""
    buffer = io.StringIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return buffer.getvalue()
