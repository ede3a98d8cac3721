"""The section on corrupted images: what each kind does to the parent and to the ensemble."""

from __future__ import annotations

from collections.abc import Sequence

from evoens.report.facts import Facts, Json
from evoens.report.parts import Section, Table
from evoens.scoring.text import number

SHOWN = {"parent": "Parent", "ensemble": "Ensemble"}
FIGURES = {"accuracy": "accuracy", "nll": "NLL", "ece": "ECE"}
MEAN = "mean of all"


def corruption(facts: Facts) -> list[Section]:
    """Return the section, where the run has looked at corrupted images; else none."""
    found = facts.report.get("details", {}).get("corruption")
    if not found:
        return []
    source = f"as published in {found['official']}" if found["official"] else "corrupted here by fixed draws"
    text = (
        f"The first {found['images']:,} images of the test split, {source}: the mean over the severities of each. "
        "Higher accuracy, and lower NLL (nats) and ECE, are better. Nothing was fitted to them."
    )
    return [Section("corruption", "Corrupted images", [text], [_table(found["kinds"])])]


def _table(kinds: Json) -> Table:
    head = ["Kind"] + [f"{who}, {label}" for label in FIGURES.values() for who in SHOWN.values()]
    rows = [[kind.replace("_", " "), *_cells([row])] for kind, row in kinds.items()]
    return Table([*rows, [MEAN, *_cells(list(kinds.values()))]], head, strong=MEAN)


def _cells(rows: Sequence[Json]) -> list[str]:
    """The means over `rows`, one for each figure and competitor."""
    return [number(sum(row[who][key] for row in rows) / len(rows), 4) for key in FIGURES for who in SHOWN]
