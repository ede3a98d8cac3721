"""The section on independently trained networks: what as many of them reach, and how many the ensemble is worth."""

from __future__ import annotations

from evoens.report.facts import Facts
from evoens.report.parts import Section, Table
from evoens.scoring.text import number


def independent(facts: Facts) -> list[Section]:
    """Return the section, where the run has trained such networks; else none."""
    found = facts.report.get("details", {}).get("independent")
    if not found:
        return []
    worth, curve = found["worth"], found["curve"]
    networks = number(worth["networks"], 2)
    text = (
        f"By its likelihood after temperature scaling the ensemble is worth {worth['bound']} {networks} networks "
        "trained independently, from other seeds with the parent’s settings. Each line: the mean over sets of so many."
    )
    rows = [[str(p["networks"]), *(number(p[key], 4) for key in ("nll", "accuracy", "ece"))] for p in curve]
    head = ["Independent networks", "NLL, calibrated", "Accuracy", "ECE, calibrated"]
    return [Section("independent", "Independent networks", [text], [Table(rows, head)])]
