"""The section on use: sets that hold the right class, and how many cases can be answered at a bounded risk."""

from __future__ import annotations

from evoens.report.facts import Facts, Json
from evoens.report.parts import Section, Table
from evoens.scoring.text import number

WHO = {"parent": "Parent", "ensemble": "Ensemble"}
SETS = (
    "A conformal set is fitted on the select split, and holds the right class of cases like those as often as was "
    "asked for, on average over such splits, whatever the predictor: by one small split it may hold it more or less "
    "often. Threshold takes classes by their probability, and may take none; APS and RAPS take as many of the "
    "likeliest as are needed. Smaller sets tell more."
)
SILENCE = (
    "Where a predictor may leave the cases to others that it is least sure of: the area under the curve of risk over "
    "coverage (AURC, AUGRC, lower is better), and how many cases it can answer."
)


def uses(facts: Facts) -> list[Section]:
    """Return the section, where the run has such figures; else none."""
    details = facts.report.get("details", {})
    if not details.get("sets"):
        return []
    tables = [_sets(details["sets"]), _silence(details["selective"])]
    return [Section("uses", "Sets of classes, and silence", [SETS, SILENCE], tables)]


def _sets(found: Json) -> Table:
    head = ["", "Asked for", *(f"{who}, {what}" for who in WHO.values() for what in ("covered", "classes a set"))]
    rows = [
        [own[0]["method"], f"{own[0]['asked']:.0%}", *(cell for row in own for cell in _set(row))]
        for own in zip(*(found[who] for who in WHO), strict=True)
    ]
    least = ", ".join(f"{min(row['least_class'] for row in found[who]):.3f} of the {who}" for who in WHO)
    caption = (
        f"With exact 95 % intervals, of other test cases by the same select split. The least covered class: {least}."
    )
    return Table(rows, head, caption)


def _set(row: Json) -> list[str]:
    low, high = row["covered"]["ci95"]
    return [f"{number(row['covered']['score'], 3)} [{number(low, 3)}, {number(high, 3)}]", number(row["size"], 2)]


def _silence(found: Json) -> Table:
    risk = found["parent"]["risk"]
    rows = [
        [WHO[who], number(own["aurc"], 4), number(own["augrc"], 4), f"{own['coverage_at_risk']:.1%}"]
        for who, own in found.items()
    ]
    return Table(rows, ["", "AURC", "AUGRC", f"Answered, at most {risk:.0%} of them wrong"])
