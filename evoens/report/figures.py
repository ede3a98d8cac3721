"""The figures of a run's report, from plain numbers: the same bytes of SVG for the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

from evoens.diversity.measures import watched
from evoens.report.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    QUIET,
    STYLE,
    VERMILLION,
    WIDTH,
    Floats,
    Row,
    among,
    column,
    generation_axes,
    log_sigma,
    plain,
    svg,
    titled,
)
from evoens.report.tables import TEMPERED, competitors
from evoens.scoring.metrics import spearman

LOOKS = {
    "parent": (INK, "s"),
    "best_child": (VERMILLION, "D"),
    "random_children": (ORANGE, "^"),
    "ensemble": (BLUE, "o"),
}
FURTHER = (GREEN, "v")  # the look of any other competitor
AT_TEMPERATURE = "P"  # the marker of one at another temperature
OFFSET = "offset points"


def forest(report: Row, rules: Sequence[tuple[str, str]], unit: str) -> str:
    """Draw scores and paired differences to the parent with their 95 % intervals, one line for each competitor.

    report: holds `parent`, `best_child`, … as report.json does. rules: (key such as `test_greedy`, name), the
    run's own rule first, which is drawn filled.
    """
    roles = competitors(report)
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 0.8 * len(roles)))
        scores, differences = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
        for y, role in enumerate(roles):
            for i, (key, _) in enumerate(rules):
                _interval(scores, report[role][key], y + 0.28 * i, role, filled=i == 0)
                if role != "parent":
                    _interval(differences, report[role][f"{key}_difference"], y + 0.28 * i, role, filled=i == 0)
        differences.axvline(0, color=INK, linewidth=1)
        differences.xaxis.set_major_locator(MaxNLocator(5))  # it is narrow, and the numbers are long
        scores.set_yticks(range(len(roles)), [_title(role, report[role]) for role in roles])
        scores.set_ylim(len(roles) - 0.4, -0.5)
        for axis in (scores, differences):
            axis.grid(axis="y", visible=False)
            axis.spines["left"].set_visible(False)
            axis.tick_params(axis="y", length=0)
        titled(scores, "Score on the test split", unit)
        titled(differences, "Paired difference to the parent", f"{unit} (0: as the parent)")
        for i, (_, name) in enumerate(rules):
            scores.plot([], [], "o", color=INK, markerfacecolor=INK if i == 0 else "white", label=name)
        if len(rules) > 1:
            figure.legend(loc="outside lower left", ncols=len(rules))
        return svg(figure)


def evolution(generations: Sequence[Row], unit: str) -> str:
    """Draw fitness, the reliability of fitness and, where it is curve, the ensemble so far over generations."""
    x = column(generations, "generation")
    ensemble = column(generations, "ensemble")
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 3.4))
        axes = figure.subplots(1, 3 if np.isfinite(ensemble).any() else 2, squeeze=False)[0]
        lines = (("best", VERMILLION, "D", "-"), ("mean", ORANGE, "^", "-"), ("worst", QUIET, "v", "-"))
        for name, colour, marker, dash in (*lines, ("parent", INK, "s", "--")):
            y = column(generations, "fitness", name)
            axes[0].plot(x, y, dash, color=colour, marker=marker, label=name)
        figure.legend(loc="outside lower left", ncols=4)
        titled(axes[0], "Fitness (search split)", "", unit)
        axes[1].axhline(0, color=INK, linewidth=1)
        axes[1].plot(x, column(generations, "reliability"), "-o", color=GREEN)
        axes[1].set_ylim(-1.05, 1.05)
        titled(axes[1], "Reliability of fitness", "", "rank correlation of two halves")
        if len(axes) > 2:
            axes[2].plot(x, ensemble, "-o", color=BLUE)
            axes[2].margins(y=0.25)
            titled(axes[2], "Ensemble so far (search split)", "", unit)
        generation_axes(axes, x)
        return svg(figure)


def diversity(generations: Sequence[Row]) -> str:
    """Draw every diversity measure over generations beside its null floor, one small panel each."""
    x, measures = column(generations, "generation"), watched()
    lines = len(measures) // 4 + 1  # the last panel has the legend
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 2.4 * lines))
        panels = figure.subplots(lines, 4, squeeze=False)
        for axis, measure in zip(panels.flat, measures, strict=False):
            value, floor = (column(generations, "diversity", measure.name, kind) for kind in ("value", "floor"))
            axis.fill_between(x, 0, floor, color=QUIET, alpha=0.2, linewidth=0)
            axis.plot(x, floor, "--s", color=QUIET, markersize=4)
            axis.plot(x, value, "-o", color=BLUE)
            titled(axis, measure.label, "", measure.unit)
            axis.set_ylim(0, 1.15 * float(np.nanmax([*value, *floor, 0])) or 1)
        generation_axes(panels.flat[: len(measures)], x)
        for axis in panels.flat[len(measures) :]:
            axis.axis("off")
        legend = panels.flat[-1]
        legend.plot([], [], "-o", color=BLUE, label="between members")
        legend.plot([], [], "--s", color=QUIET, markersize=4, label="null floor: a member\nagainst itself")
        legend.legend(loc="center left", fontsize=9.5)
        return svg(figure)


def reliability(found: Mapping[str, Mapping[str, Sequence[Row]]]) -> str:
    """Draw how often each competitor is right over how sure it is (Guo et al. 2017, fig. 1), as it is and tempered.

    found: for each of `as it is` and `tempered` the bins `{low, high, count, confidence, accuracy}` by competitor. A
    marker's area shows the bin's share of the cases.
    """
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 4.3))
        for axis, (title, competitors) in zip(figure.subplots(1, 2, sharey=True), found.items(), strict=True):
            axis.plot([0, 1], [0, 1], "--", color=QUIET, linewidth=1.4, label="as sure as right")
            for role, bins in competitors.items():
                colour, marker = LOOKS.get(role, FURTHER)
                rows = [row for row in bins if row["count"]]
                x, y, count = (column(rows, name) for name in ("confidence", "accuracy", "count"))
                axis.plot(x, y, color=colour, linewidth=1.4)
                axis.scatter(
                    x, y, 4 + 150 * count / count.sum(), colour, marker=marker, alpha=0.8, label=_title(role, {})
                )
            axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), aspect="equal")
            titled(axis, title.capitalize(), "confidence: mean probability of the answer", "accuracy")
        figure.legend(*axis.get_legend_handles_labels(), loc="outside lower left", ncols=3)
        return svg(figure)


def trust_region(search: Row) -> Figure:
    """Draw KL to the parent and agreement with it over σ, with the target and the σ that was chosen.

    search: `target_kl`, `sigma` and `rows` of `{sigma, kl, kl_range, agreement}`, as history.json holds them.
    """
    rows = sorted(search["rows"], key=lambda row: float(row["sigma"]))
    sigma, kl, agreement = (column(rows, name) for name in ("sigma", "kl", "agreement"))
    target, chosen = search["target_kl"], search["sigma"]
    low, high = np.array([row["kl_range"] for row in rows], float).T
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 3.3))
        left, right = figure.subplots(1, 2)
        smallest = float(kl[kl > 0].min(initial=target)) / 3  # a logarithm has no zero
        left.fill_between(sigma, np.maximum(low, smallest), high, color=BLUE, alpha=0.2, linewidth=0)
        left.plot(sigma, kl, "-o", color=BLUE)
        left.axhline(target, color=VERMILLION, linestyle="--", linewidth=1.4)
        left.annotate(f"target {target:g}", (0.02, target), (0, 3), ("axes fraction", "data"), OFFSET, color=VERMILLION)
        left.set_yscale("log")
        left.yaxis.set_major_formatter(FuncFormatter(plain))
        right.plot(sigma, agreement, "-o", color=GREEN)
        right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        for axis in (left, right):
            axis.axvline(chosen, color=INK, linestyle=":")
            log_sigma(axis, sigma)
        side, shift = ("right", -5) if chosen > np.sqrt(sigma[0] * sigma[-1]) else ("left", 5)
        left.annotate(f"σ = {chosen:.3g}", (chosen, 0.03), (shift, 0), ("data", "axes fraction"), OFFSET, ha=side)
        titled(left, "KL(parent ‖ child): mean and range of children", "σ, scale of the noise (log)", "nats (log)")
        titled(right, "Inputs on which the likeliest answer stays", "σ, scale of the noise (log)")
        return figure


def learning(curve: Sequence[Row], unit: str) -> str:
    """Draw the parent's training return over environment steps: records `{steps, return_mean}`."""
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 2.9))
        axis = figure.subplots()
        marker = "o" if len(curve) < 30 else ""
        axis.plot(column(curve, "steps") / 1e6, column(curve, "return_mean"), color=INK, marker=marker, linewidth=1.4)
        titled(axis, "Training return (mean of the last 100 episodes)", "million environment steps", unit)
        return svg(figure)


def lessons(curve: Sequence[Row]) -> str:
    """Draw a classifier's loss and accuracy on what it learns from over epochs: records `{epoch, loss, accuracy}`."""
    x = column(curve, "epoch")
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 2.9))
        panels = (("loss", "Training loss", "nats"), ("accuracy", "Training accuracy", "accuracy"))
        for axis, (name, title, unit) in zip(figure.subplots(1, 2), panels, strict=True):
            axis.plot(x, column(curve, name), color=INK, marker="o" if len(curve) < 30 else "", linewidth=1.4)
            axis.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
            titled(axis, title, "epoch", unit)
        return svg(figure)


def held_out(candidates: Sequence[Row], members: Sequence[str], unit: str) -> str:
    """Draw the candidates' score on the search split against the one on the select split, the members marked.

    candidates: rows of `{key, search, select}`. members: keys.
    """
    x, y, chosen = column(candidates, "search"), column(candidates, "select"), among(candidates, members)
    with mpl.rc_context(STYLE):
        figure = Figure((4.6, 4.0))
        axis = figure.subplots()
        ends = [float(np.min([x, y])), float(np.max([x, y]))]
        axis.plot(ends, ends, color=QUIET, linewidth=1, label="equal scores")
        axis.plot(x[~chosen], y[~chosen], "o", color=QUIET, label="candidate")
        axis.plot(x[chosen], y[chosen], "D", color=BLUE, label="member")
        axis.xaxis.set_major_locator(MaxNLocator(nbins=5))
        titled(axis, f"Rank correlation of both scores: {_correlation(x, y)}", f"search: {unit}", f"select: {unit}")
        figure.legend(loc="outside lower center", ncols=3)
        return svg(figure)


def _title(role: str, block: Row) -> str:
    at = f",\nT = {block['temperature']:g}" if role in TEMPERED else ""
    return TEMPERED.get(role, role).replace("_", " ").capitalize() + at


def _look(role: str) -> tuple[str, str]:
    """Its colour, which somebody at another temperature shares, and its marker."""
    colour, marker = LOOKS.get(TEMPERED.get(role, role), FURTHER)
    return colour, AT_TEMPERATURE if role in TEMPERED else marker


def _correlation(x: Floats, y: Floats) -> str:
    r = float(spearman(x, y))
    return "none, scores are equal" if np.isnan(r) else f"{r:+.2f}".replace("-", "−")


def _interval(axis: Axes, stats: Row, y: float, role: str, *, filled: bool) -> None:
    colour, marker = _look(role)
    axis.plot(stats["ci95"], [y, y], color=colour, solid_capstyle="butt")
    axis.plot(stats["score"], y, marker, color=colour, markerfacecolor=colour if filled else "white", markersize=7)
