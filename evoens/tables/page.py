"""The page of a table: the rows side by side, what they cost, and pictures of the one over the other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evoens.report.page import rendered
from evoens.report.parts import Picture, Section, Table, drawn
from evoens.scoring.text import capital, duration, interval, number
from evoens.storage.files import write_atomic
from evoens.tables import charts
from evoens.tables.summary import COSTS, front
from evoens.tables.written import TABLE

Json = Mapping[str, Any]
PICTURED = ("accuracy", "nll")
NAMES = {"kl": "KL between members, nats", "disagreement": "Disagreement"}


def write_page(folder: Path, table: Json) -> Path:
    """Write table.html of a table, as table.json has it, and return its path."""
    path = folder / f"{TABLE}.html"
    write_atomic(path, page(table))
    return path


def page(table: Json) -> str:
    """Return the page as HTML."""
    return rendered(
        table["name"], subtitle(table), [_result(table), _differences(table), _cost(table), *_settings(table)]
    )


def subtitle(table: Json) -> str:
    """Return what the table is of, in a line."""
    seeds = ", ".join(map(str, table["seeds"]))
    parts = [f"{k.replace('_', ' ')} {v}" for k, v in table["problem"].items() if isinstance(v, str | int)]
    return " · ".join([*parts, f"seed{'s' if len(table['seeds']) > 1 else ''} {seeds}"])


def shown(scores: Json, digits: int) -> str:
    """Return a mean over seeds with its standard deviation, where there are several."""
    more = "" if scores["sd"] is None else f" ± {number(scores['sd'], digits)}"
    return f"{number(scores['mean'], digits)}{more}"


def scores(table: Json) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of the scores, as text."""
    measures = table["measures"]
    head = ["", "Members", *(capital(measure["label"]) for measure in measures)]
    rows = [
        [row["label"], f"{row['size']:g}", *(shown(row["scores"][m["name"]], m["digits"]) for m in measures)]
        for row in table["rows"]
    ]
    return head, rows


def _result(table: Json) -> Section:
    several = len(table["seeds"]) > 1
    text = [
        "Measured on the test split, which no method has seen, with temperatures fitted on the select split. "
        + ("Means over seeds ± their standard deviation." if several else "One seed."),
        _budget(table),
    ]
    head, rows = scores(table)
    best = (
        f"Higher accuracy is better; of the others lower is. Differences are taken from {table['baseline']}, in bold."
    )
    pictured = [m for m in table["measures"] if m["name"] in PICTURED]
    pictures = [_picture(table, measure) for measure in pictured]
    numbers = ", ".join(f"{place} {row['label']}" for place, row in enumerate(table["rows"], 1))
    words = [*text, *([f"In the pictures: {numbers}."] if pictures else [])]
    return Section("result", "Result", words, [Table(rows, head, best, table["baseline"])], pictures)


def _budget(table: Json) -> str:
    if "budget" not in table:
        return "Every row is a finished run."
    return (
        f"Each may train for {table['budget']['epochs']} epochs, all of its networks together, unless its row says "
        "otherwise. What it has trained for is below."
    )


def _picture(table: Json, measure: Json) -> Picture:
    label = measure["label"]
    words = f"{label} over operations of training, operations of an answer, and numbers to keep."
    caption = "Blue: the Pareto front, no other row is as good and as cheap."
    caption += " Bars: the standard deviation over seeds." if len(table["seeds"]) > 1 else ""
    return drawn(charts.over_costs(table["rows"], measure), words, caption)


def _differences(table: Json) -> Section:
    name, title, baseline = "differences", "Differences", table["baseline"]
    rows = [
        [row["label"], *(_less(row["differences"], measure) for measure in table["measures"])]
        for row in table["rows"]
        if row["differences"]
    ]
    if not rows:
        return Section(name, title, [f"There is no other row beside {baseline}."])
    text = (
        f"Each row less {baseline}, case by case and seed by seed, with its 95 % interval: that of the same networks "
        "on other cases. An interval without zero is a difference."
    )
    head = ["", *(capital(measure["label"]) for measure in table["measures"])]
    return Section(name, title, [text], [Table(rows, head)])


def _less(differences: Json, measure: Json) -> str:
    found = differences.get(measure["name"])
    return "–" if found is None else interval(found, measure["digits"], "+").replace(", ", ",\u00a0")


def _cost(table: Json) -> Section:
    text = (
        "Operations are floating-point operations, two for each multiply-add, of weights that are not zero: what a "
        "pruned weight would cost is not counted. A training step counts three passes. The front: by the score "
        "and that cost no other row is at least as good, and somewhere better."
    )
    fronts = {cost: front(table["rows"], table["measures"][0], cost) for cost in COSTS}
    rows = [_cost_row(row, fronts) for row in table["rows"]]
    measured = list(dict.fromkeys(name for row in table["rows"] for name in row["diversity"]))
    head = ["", "Epochs", *charts.AXES.values(), "Time", "Memory, MB", "On the front of"]
    diverse = [
        [row["label"], *(number(row["diversity"].get(name), 4) for name in measured)]
        for row in table["rows"]
        if row["diversity"]
    ]
    found = [Table(rows, [capital(cell) for cell in head])]
    if diverse:
        names = [NAMES.get(name, name.capitalize()) for name in measured]
        found.append(Table(diverse, ["", *names], "Between two members on the test split, the mean over all pairs."))
    return Section("cost", "Cost and diversity", [text], found)


def _cost_row(row: Json, fronts: Mapping[str, Sequence[str]]) -> list[str]:
    cost = row["cost"]
    counts = ["–" if cost[name] is None else f"{cost[name]:.3g}" for name in COSTS]
    best = [charts.AXES[name] for name in COSTS if row["label"] in fronts[name]]
    memory = f"{cost['peak_memory'] / 1e6:,.0f}"
    return [row["label"], f"{cost['epochs']:g}", *counts, duration(cost["seconds"]), memory, ", ".join(best) or "–"]


def _settings(table: Json) -> list[Section]:
    config = table.get("config")
    return [Section("settings", "Settings", code=[config])] if config else []
