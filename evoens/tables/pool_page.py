"""The page of a pool: what ensembles of a few gain over their best member, and what tells that beforehand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from evoens.diversity.measures import MEASURES
from evoens.report.page import rendered
from evoens.report.parts import Picture, Section, Table, drawn
from evoens.report.style import STYLE, VERMILLION, WIDTH, svg, titled
from evoens.scoring.text import interval, number

Json = Mapping[str, Any]
TITLES = {"accuracy": "mean accuracy of the members", "weights": "numbers to keep, of a member"}
DRAWN = ("disagreement", "kl", "accuracy")
HEAD = ["Members", "Numbers to keep", "Accuracy", "NLL", "Improvement"]
LARGEST, SMALLEST = 60, 6  # of a bubble, in square points


def page(name: str, found: Json) -> str:
    """Return the page of a pool as HTML, from what pool.json holds."""
    subtitle = f"{found['subsets']:,} ensembles of {found['size']} of {len(found['members'])}"
    return rendered(name, subtitle, [_gain(found), _told(found), _chosen(found), _together(found)])


def best(found: Json) -> tuple[str, list[str], list[list[str]]]:
    """Return the best ensembles as a title, a head and rows, for the console."""
    title = f"{found['subsets']:,} ensembles of {found['size']} of {len(found['members'])}, the best by select"
    rows = [_row(", ".join(own["members"]), own) for own in found["chosen"]["best"]]
    return title, HEAD, rows


def _gain(found: Json) -> Section:
    text = (
        "The improvement is the accuracy of an ensemble on the test split, less that of its best member there (DRE "
        "section 4.4): above zero it was worth having several. Mean: of the members’ probabilities; vote: a tie is "
        "drawn. A bubble is an ensemble, larger where its members need more numbers, brighter where it is more "
        "accurate; the line is the trend."
    )
    rows = [
        [consensus, *(number(own[key], 4, "+") for key in ("mean", "least", "most")), f"{own['above']:.0%}"]
        for consensus, own in found["improvement"].items()
    ]
    pictures = [_scatter(found, consensus) for consensus in found["improvement"]]
    return Section(
        "gain", "What an ensemble gains", [text], [Table(rows, ["", "Mean", "Least", "Most", "Above zero"])], pictures
    )


def _scatter(found: Json, consensus: str) -> Picture:
    points = found["points"]
    gain, accuracy = np.array(points["gains"][consensus]), np.array(points["accuracy"])
    weights = np.array(points["traits"]["weights"])
    sizes = SMALLEST + (LARGEST - SMALLEST) * weights / max(weights.max(), 1)
    with mpl.rc_context(STYLE):
        figure = Figure((WIDTH, 3.8))
        panels = figure.subplots(1, len(DRAWN), sharey=True)
        for axis, trait in zip(panels, DRAWN, strict=True):
            x = np.array(points["traits"][trait])
            shown = axis.scatter(x, gain, sizes, accuracy, cmap="cividis", alpha=0.7, linewidths=0)
            axis.axhline(0, color="#8a8a8a", linestyle="--", linewidth=1)
            if np.ptp(x) > 0:
                slope, start = np.polyfit(x, gain, 1)
                ends = np.array([x.min(), x.max()])
                axis.plot(ends, slope * ends + start, color=VERMILLION, linewidth=1.5)
            titled(axis, "", title(trait), f"improvement, {consensus}" if axis is panels[0] else "")
        figure.colorbar(shown, ax=panels, label="accuracy", shrink=0.85)
        words = f"Bubbles: every ensemble’s improvement by the {consensus}, over diversity and its members’ accuracy."
        return drawn(svg(figure), words)


def title(trait: str) -> str:
    """Return a trait of an ensemble in words."""
    return MEASURES[trait].title if trait in MEASURES else TITLES[trait]


def _told(found: Json) -> Section:
    text = (
        "The rank correlation of what is known of an ensemble beforehand with its improvement. Ensembles share "
        "members, so the 95 % interval is that of other members of such a pool, by the jackknife."
    )
    names = found["correlations"]["mean"]
    rows = [[title(name), *(_rho(found["correlations"][by][name]) for by in found["correlations"])] for name in names]
    return Section("told", "What tells it beforehand", [text], [Table(rows, ["", *found["correlations"]])])


def _rho(own: Json) -> str:
    if own["score"] is None:
        return "–"
    return number(own["score"], 2, "+") if own["ci95"] is None else interval(own, 2, "+")


def _chosen(found: Json) -> Section:
    chosen = found["chosen"]
    bound = "" if chosen["budget"] is None else f", of those that need at most {chosen['budget']:,.0f} numbers"
    text = f"The best by the NLL of their mean on the select split{bound}; what they reach on the test split."
    rows = [_row(", ".join(own["members"]), own) for own in chosen["best"]]
    one = _row(f"one after another: {', '.join(chosen['greedy']['members'])}", chosen["greedy"])
    return Section("chosen", "The best by select", [text], [Table([*rows, one], HEAD)])


def _row(name: str, own: Json) -> list[str]:
    figures = [number(own["accuracy"], 4), number(own["nll"], 4), number(own["improvement"], 4, "+")]
    return [name, f"{own['weights']:,.0f}", *figures]


def _together(found: Json) -> Section:
    text = (
        "How often two members fail on the same case, over how often they would if they failed independently "
        "(Littlewood & Miller 1989): above 1 some cases are difficult for all of them."
    )
    rows = [
        [name, str(own["cases"]), number(own["error"], 4), number(own["together"], 4), _ratio(own)]
        for name, own in found["failures"].items()
    ]
    return Section(
        "together", "Who fails together", [text], [Table(rows, ["", "Cases", "Mean error", "Both fail", "Over chance"])]
    )


def _ratio(own: Json) -> str:
    if own["over_chance"] is None:
        return "–"
    low, high = own["ci95"] or (None, None)
    return f"{number(own['over_chance'])} [{number(low)}, {number(high)}]"
