"""The figures of the part on mutations: ablations over strength and density, and decision boundaries in the plane."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from evoens.report.style import (
    BLUE,
    INK,
    STYLE,
    VERMILLION,
    WIDTH,
    Floats,
    Row,
    column,
    log_sigma,
    plain,
    png,
    svg,
    titled,
)

STRENGTH = "σ, strength of the noise"


def ablation(rows: Sequence[Row]) -> bytes:
    """Draw KL over σ, and where there are classes accuracy over KL and the ensemble's over σ, a line a density."""
    densities = list(dict.fromkeys(row["density"] for row in rows))
    colours = colormaps["viridis"](np.linspace(0, 0.85, len(densities)))
    labelled, sigmas = "accuracy" in rows[0], np.unique(column(rows, "sigma"))
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 3.6))
        axes = figure.subplots(1, 3 if labelled else 1, squeeze=False)[0]
        for density, colour in zip(densities, colours, strict=True):
            own = [row for row in rows if row["density"] == density]
            sigma, kl = column(own, "sigma"), column(own, "kl")
            axes[0].plot(sigma, kl, "-o", color=colour, label=f"density {density:g}")
            if labelled:
                axes[1].plot(kl, column(own, "accuracy"), "-o", color=colour)
                axes[2].plot(sigma, column(own, "mean"), "-o", color=colour)
                axes[2].plot(sigma, column(own, "majority-vote"), "--^", color=colour, markersize=4)
        axes[0].set_yscale("log")
        log_sigma(axes[0], sigmas)
        axes[0].yaxis.set_major_formatter(FuncFormatter(plain))
        titled(axes[0], "Divergence from the network", STRENGTH, "KL, nats")
        if labelled:
            axes[1].set_xscale("log")
            axes[1].xaxis.set_major_formatter(FuncFormatter(plain))
            axes[1].minorticks_off()
            titled(axes[1], "A child alone", "KL, nats", "accuracy")
            log_sigma(axes[2], sigmas)
            titled(axes[2], "All children together", STRENGTH, "accuracy")
            axes[2].plot([], [], "-o", color=INK, label="mean of probabilities")
            axes[2].plot([], [], "--^", color=INK, markersize=4, label="majority vote")
        figure.legend(loc="outside lower center", ncols=len(densities) + 2)
        return svg(figure).encode()


def boundaries(
    maps: Sequence[Floats],
    cells: Sequence[tuple[float, float]],
    points: NDArray[np.uint8],
    labels: NDArray[np.int64] | None,
) -> bytes:
    """Draw where a child would answer class 1 rather than 0, a row a density and a column a σ; as a PNG.

    Args:
        maps: by cell, probabilities `(grid², classes)`, row by row of y.
        cells: density and σ.
        points: `(n, 2)` bytes.
        labels: `(n,)`, or None.
    """
    densities, sigmas = (list(dict.fromkeys(cell[i] for cell in cells)) for i in range(2))
    side = round(len(maps[0]) ** 0.5)
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure((WIDTH, WIDTH / len(sigmas) * len(densities) + 0.3), dpi=120)
        panels = figure.subplots(len(densities), len(sigmas), squeeze=False)
        for axis, found, (density, sigma) in zip(panels.flat, maps, cells, strict=True):
            likely = found[:, 1].reshape(side, side)
            axis.imshow(likely, origin="lower", extent=(0, 255, 0, 255), cmap="RdBu", vmin=0, vmax=1, alpha=0.6)
            for index, colour in ((0, VERMILLION), (1, BLUE)):
                own = points[labels == index] if labels is not None else points[: 0 if index else None]
                axis.plot(*own.T, ".", color=colour, markersize=1.5)
            axis.set(xticks=[], yticks=[], xlim=(0, 255), ylim=(0, 255))
            if density == densities[0]:
                axis.set_title(f"σ = {sigma:g}")
            if sigma == sigmas[0]:
                axis.set_ylabel(f"density {density:g}")
        return png(figure)
