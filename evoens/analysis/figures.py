"""The figures of an analysis: from plain numbers to the bytes of an SVG, the same for the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from evoens.report.style import BLUE, STYLE, VERMILLION, WIDTH, Floats, column, svg, titled

COLOURS = "cividis"  # the same to colour-blind readers, and in grey
_MARKERS = "os^Dv<>Php*"  # beside the colours, which not all readers tell apart
Integers = NDArray[np.int64]
MANY = 20  # members; more have no names on the axes


def heat_maps(matrices: Mapping[str, Sequence[Sequence[float]]], names: Sequence[str]) -> bytes:
    """Draw `(k, k)` matrices of pairs beside each other, by title; the diagonal, a member with itself, is left out."""
    across = 2
    down = -(-len(matrices) // across)
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 3.9 * down))
        panels = figure.subplots(down, across, squeeze=False).flat
        for axis, (title, matrix) in zip(panels, matrices.items(), strict=False):
            values = np.array(matrix, float)
            np.fill_diagonal(values, np.nan)
            image = axis.imshow(values, cmap=COLOURS)
            figure.colorbar(image, ax=axis, shrink=0.85)
            axis.set_title(title)
            axis.grid(visible=False)
            places = range(len(names)) if len(names) <= MANY else []
            axis.set_xticks(places, [names[i] for i in places], rotation=60, ha="right")
            axis.set_yticks(places, [names[i] for i in places])
        for axis in list(panels):
            axis.axis("off")
        return svg(figure).encode()


def size_and_divergence(curve: Sequence[Mapping[str, float]], points: Sequence[Mapping[str, Any]]) -> bytes:
    """Draw accuracy over the number of members, and each member's own over its divergence."""
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 3.4))
        sizes, alone = figure.subplots(1, 2)
        x = column(curve, "size")
        sizes.fill_between(x, column(curve, "low"), column(curve, "high"), color=BLUE, alpha=0.15, linewidth=0)
        sizes.plot(x, column(curve, "accuracy"), "-o", color=BLUE, label="mean of the subsets, worst to best shaded")
        sizes.xaxis.set_major_locator(MaxNLocator(integer=True))
        sizes.legend(loc="lower right")
        titled(sizes, "Ensembles of some of the members", "members", "accuracy")
        alone.plot(column(points, "kl"), column(points, "accuracy"), "o", color=VERMILLION, label="a member alone")
        alone.axhline(curve[-1]["accuracy"], color=BLUE, linestyle="--", label="all members together")
        alone.legend(loc="best")
        titled(alone, "Members alone", "KL divergence, nats", "accuracy")
        return svg(figure).encode()


def clusters(
    points: Sequence[Floats], predicted: Sequence[Integers], labels: Integers | None, names: Sequence[str]
) -> bytes:
    """Draw each network's plane `(n, 2)`, a column each: by class, by prediction, and where they differ; as a PNG.

    Without labels there is only the row of predictions.
    """
    rows = ["predicted"] if labels is None else ["class", "predicted", "errors"]
    count = int(max(int(p.max()) for p in [*predicted, *([] if labels is None else [labels])])) + 1
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure((WIDTH, 2.6 * len(rows) + 0.4), dpi=120)
        panels = figure.subplots(len(rows), len(points), squeeze=False)
        for across, (plane, answer) in enumerate(zip(points, predicted, strict=True)):
            for down, row in enumerate(rows):
                axis = panels[down, across]
                _plane(axis, plane, answer, labels, row, count)
                if not down:
                    axis.set_title(names[across])
                if not across:
                    axis.set_ylabel({"class": "by class", "predicted": "by prediction", "errors": "errors"}[row])
        _class_legend(figure, count)
        buffer = BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
        return buffer.getvalue()


def _plane(axis: Axes, plane: Floats, answer: Integers, labels: Integers | None, row: str, count: int) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
    shown = np.ones(len(plane), bool) if row != "errors" or labels is None else answer != labels
    axis.scatter(*plane[~shown].T, s=3, color="#e0e0e0", linewidths=0)
    of = labels if row == "class" and labels is not None else answer
    colours, markers = _class_colours(count), _MARKERS
    for index in range(count):
        here = shown & (of == index)
        axis.scatter(*plane[here].T, s=9, color=colours[index], marker=markers[index % len(markers)], linewidths=0)
    if row == "errors" and labels is not None:
        axis.set_xlabel(f"{np.mean(shown):.1%} wrong, by prediction")


def _class_colours(count: int) -> NDArray[np.float64]:
    """A colour for each class: those of Okabe & Ito, and beyond them shades that go on in brightness."""
    ten = ["#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#8a8a8a", "#6a3d9a"]
    if count <= len(ten):
        return np.array([to_rgba(colour) for colour in ten[:count]])
    colours: NDArray[np.float64] = colormaps["viridis"](np.linspace(0, 1, count))
    return colours


def _class_legend(figure: Figure, count: int) -> None:
    """Name the classes below the figure, as long as there is room for them."""
    if count > MANY:
        return
    colours = _class_colours(count)
    handles = [
        Line2D([], [], linestyle="", marker=_MARKERS[i % len(_MARKERS)], color=colours[i], label=str(i), markersize=6)
        for i in range(count)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=count, title="class", handletextpad=0.1)


def layer_maps(maps: Mapping[str, Floats], layers: Sequence[str]) -> bytes:
    """Draw `(l, l)` CKA of two networks' layers beside each other, by title, 0 to 1."""
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure((WIDTH, 4.6))
        panels = figure.subplots(1, max(2, len(maps)), squeeze=False)[0]
        for axis, (title, matrix) in zip(panels, maps.items(), strict=False):
            image = axis.imshow(matrix, cmap=COLOURS, vmin=0, vmax=1, origin="lower")
            first, _, second = title.partition(" and ")
            every = -(-len(layers) // MANY)
            places = range(0, len(layers), every)
            axis.set_xticks(places, [layers[i] for i in places], rotation=60, ha="right")
            axis.set_yticks(places, [layers[i] for i in places])
            titled(axis, title, f"layers of {second}", f"layers of {first}")
            figure.colorbar(image, ax=axis, shrink=0.75, label="linear CKA")
        for axis in panels[len(maps) :]:
            axis.axis("off")
        return svg(figure).encode()
