"""The figures of an analysis: from plain numbers to the bytes of an SVG or a PNG, the same for the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

from evoens.report.style import BLUE, INK, STYLE, VERMILLION, WIDTH, Floats, column, png, svg, titled

COLOURS = "cividis"  # the same to colour-blind readers, and in grey
MARKERS = "os^Dv<>Php*"  # of classes, beside their colours, which not all readers tell apart
PAPER = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.8}  # below a name
Integers = NDArray[np.int64]
SHORT = 12  # letters of a layer's name, of which two maps fit beside each other
MANY = 20  # members; more have no names on the axes


def heat_maps(matrices: Mapping[str, Floats], names: Sequence[str]) -> bytes:
    """Draw `(k, k)` matrices of pairs beside each other, by title; the diagonal, a member with itself, is left out."""
    across = 2
    down = -(-len(matrices) // across)
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 3.9 * down))
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axis, (title, matrix) in zip(panels, matrices.items(), strict=False):
            values = matrix.copy()
            np.fill_diagonal(values, np.nan)
            image = axis.imshow(values, cmap=COLOURS)
            figure.colorbar(image, ax=axis, shrink=0.85)
            axis.set_title(title)
            axis.grid(visible=False)
            places = range(len(names)) if len(names) <= MANY else []
            axis.set_xticks(places, [names[i] for i in places], rotation=60, ha="right")
            axis.set_yticks(places, [names[i] for i in places])
        for axis in panels[len(matrices) :]:
            axis.axis("off")
        return svg(figure).encode()


def size_and_divergence(
    curve: Sequence[Mapping[str, float]], points: Sequence[Mapping[str, Any]], middle: str
) -> bytes:
    """Draw accuracy over the number of members, and each member's own over its divergence from the `middle`."""
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
        titled(alone, "Members alone", f"KL divergence from {middle}, nats", "accuracy")
        return svg(figure).encode()


def clusters(
    points: Sequence[Floats], predicted: Sequence[Integers], labels: Integers | None, names: Sequence[str]
) -> bytes:
    """Draw each network's plane `(n, 2)`, a column each: by class, by prediction, and where they differ; as a PNG.

    Without labels there is only the row of predictions.
    """
    views = [_views(answer, labels) for answer in predicted]
    count = 1 + max(int(of.max()) for view in views for of, _ in view.values())
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure((WIDTH, 2.6 * len(views[0]) + 0.4), dpi=120)
        panels = figure.subplots(len(views[0]), len(points), squeeze=False)
        for column_of, name, plane, view in zip(panels.T, names, points, views, strict=True):
            column_of[0].set_title(name)
            for axis, (of, shown) in zip(column_of, view.values(), strict=True):
                _scatter(axis, plane, np.where(shown, of, -1), count)
        for axis, title in zip(panels[:, 0], views[0], strict=True):
            axis.set_ylabel(title)
        _class_legend(figure, count, "answer" if labels is None else "class")
        return png(figure)


def _views(answer: Integers, labels: Integers | None) -> dict[str, tuple[Integers, NDArray[np.bool_]]]:
    """The rows of a column: by what points are coloured, and which are."""
    everywhere = np.ones(len(answer), bool)
    if labels is None:
        return {"by prediction": (answer, everywhere)}
    return {
        "by class": (labels, everywhere),
        "by prediction": (answer, everywhere),
        "errors, by prediction": (answer, answer != labels),
    }


def _scatter(axis: Axes, plane: Floats, of: Integers, count: int) -> None:
    """Draw the points of a plane, those of class −1 in pale grey below the others."""
    axis.set_xticks([])
    axis.set_yticks([])
    axis.plot(*plane[of < 0].T, ".", markersize=2, color="#dcdcdc")
    for index, colour in enumerate(_class_colours(count)):
        axis.plot(*plane[of == index].T, MARKERS[index % len(MARKERS)], markersize=2.6, color=colour)


def _class_colours(count: int) -> NDArray[np.float64]:
    """A colour for each class: those of Okabe & Ito, and beyond them shades that go on in brightness."""
    ten = ["#000000", "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#8a8a8a", "#6a3d9a"]
    if count <= len(ten):
        return np.array([to_rgba(colour) for colour in ten[:count]])
    colours: NDArray[np.float64] = colormaps["viridis"](np.linspace(0, 1, count))
    return colours


def _class_legend(figure: Figure, count: int, title: str) -> None:
    """Name the classes below the figure, as long as there is room for them."""
    if count > MANY:
        return
    colours = _class_colours(count)
    handles = [
        Line2D([], [], linestyle="", marker=MARKERS[i % len(MARKERS)], color=colours[i], label=str(i), markersize=6)
        for i in range(count)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=count, title=title, handletextpad=0.1)


def layer_maps(maps: Mapping[str, Floats], layers: Sequence[str]) -> bytes:
    """Draw `(l, l)` CKA of two networks' layers by title, from the lowest to 1; below each other if names are long."""
    lowest = min(float(matrix.min()) for matrix in maps.values())
    across = 2 if max(map(len, layers)) <= SHORT else 1
    down = -(-len(maps) // across)
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure((WIDTH, (4.6 if across == 2 else 5.6) * down))
        panels = figure.subplots(down, across, squeeze=False).ravel()
        for axis, (title, matrix) in zip(panels, maps.items(), strict=False):
            image = axis.imshow(matrix, cmap=COLOURS, vmin=lowest, vmax=1, origin="lower")
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


@dataclass(frozen=True, slots=True)
class Panel:
    """A landscape: losses `(rows, columns)` at the coordinates y and x, which have a unit; and the networks' places."""

    title: str
    unit: str
    x: Floats
    y: Floats
    loss: Floats
    networks: Sequence[tuple[float, float]]


def landscapes(panels: Sequence[Panel], unit: str, names: Sequence[str]) -> bytes:
    """Draw contours of the loss, logarithmic in its distance from the lowest, with the networks marked by name."""
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure((WIDTH, 4.4))
        for axis, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            loss = np.where(np.isfinite(panel.loss), panel.loss, np.nan)
            low, high = float(np.nanmin(loss)), float(np.nanpercentile(loss, 95))
            levels = low + (high - low) * np.linspace(0, 1, 16) ** 2
            filled = axis.contourf(panel.x, panel.y, loss, np.unique(levels), cmap=f"{COLOURS}_r", extend="max")
            figure.colorbar(filled, ax=axis, label=unit, shrink=0.85, format="%.3g")
            for name, (x, y) in zip(names, panel.networks, strict=False):
                axis.plot(x, y, "o", color="white", markeredgecolor=INK)
                inwards = 5 if x <= panel.x.mean() else -5  # so that no name leaves the panel
                side = "left" if inwards > 0 else "right"
                axis.annotate(name, (x, y), (inwards, 6), "data", "offset points", ha=side, fontsize=9, bbox=PAPER)
            axis.set_aspect("equal")
            titled(axis, panel.title, panel.unit)
        return svg(figure).encode()
