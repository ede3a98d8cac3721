"""The tables of a run as text, for the console, TensorBoard and the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evoens.scoring.text import interval, number

KL_PARENT = "KL from the parent"
TEMPERED = {"parent_tempered": "parent", "ensemble_tempered": "ensemble"}  # who they are but for a temperature


def competitors(report: Mapping[str, Any]) -> list[str]:
    """Return the names of those that a report compares: each has its difference to the parent."""
    return [name for name, block in report.items() if isinstance(block, Mapping) and "test_difference" in block]


def comparison(report: Mapping[str, Any], between: str = " ") -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a report's comparison, as text: the run's own rule first, with the difference.

    Args:
        report: as report.json holds it.
        between: what stands between a score and its interval.
    """
    own, *beside = report["measures"]
    head = ["", own["label"], "less the parent's", *(measure["label"] for measure in beside), "cases"]
    rows = []
    for name in competitors(report):
        block = report[name]
        score, *others = (interval(block[m["key"]], m["digits"], between=between) for m in report["measures"])
        less = interval(block["test_difference"], own["digits"], "+", between) if name != "parent" else ""
        rows.append([named(name, block), score, less, *others, str(block["test"]["n"])])
    return head, rows


def named(name: str, block: Mapping[str, Any]) -> str:
    """Return who a competitor of the report is, in words."""
    if name in TEMPERED:
        return f"{named(TEMPERED[name], block)}, T = {block['temperature']:g}"
    if "label" in block:
        return str(block["label"])
    words = name.replace("_", " ")
    if "size" not in block:
        return words
    size, beside = (block["size"] - 1, " and the parent") if block.get("parent") else (block["size"], "")
    if name == "random_children":
        return ("1 random child" if size == 1 else f"{size} random children") + beside
    return f"{words} of {size}{beside}"


def measured(report: Mapping[str, Any]) -> str:
    """Return what stands over the comparison: what was measured, on which cases, and whether these are unseen."""
    seen = f", but {unsure}" if (unsure := report.get("unsure")) else ""
    return f"{report['unit']} on cases that neither search nor selection saw{seen} [95 % interval]"


def tried(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of what the search for a scope has tried, as text; the parent's row comes first."""
    head = ["", "σ", f"{KL_PARENT}, nats", found["unit"], "less the parent's", "± standard error"]
    rows = [["nothing: the parent", "", "", number(found["parent"], 4), "", ""]]
    for row in found["rows"]:
        if row["worth"] is None:
            rows.append([row["layer"], "", "", row["error"], "", ""])
            continue
        where = [row["layer"], f"{row['sigma']:g}", f"{row['kl']:.3g}"]
        less = [number(row["difference"], 4, "+"), number(row["standard_error"], 4)]
        rows.append([*where, number(row["worth"], 4), *less])
    return head, rows
