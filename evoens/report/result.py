"""The first section of a report: who was compared, by which measures, and how far apart they are."""

from __future__ import annotations

from collections.abc import Sequence

from evoens.report import figures
from evoens.report.facts import Facts, Json
from evoens.report.parts import Picture, Section, Table, drawn
from evoens.report.tables import competitors, named
from evoens.scoring.text import interval


def result(facts: Facts) -> Section:
    """Return the comparison on the test split: a table and an interval plot for each unit of the measures."""
    name, title = "result", "Result"
    if not facts.report:
        return Section(name, title, ["The comparison on the test split comes last; it has not been made yet."])
    text = (
        "Measured on the test split, which neither the search nor the selection of members has seen. Differences are "
        "paired case by case, so the luck that both share cancels; an interval without zero is a difference."
    )
    units = list(dict.fromkeys(measure["unit"] for measure in facts.measures))
    groups = [[measure for measure in facts.measures if measure["unit"] == unit] for unit in units]
    tables = [_comparison(facts, group) for group in groups]
    return Section(name, title, [text, _drawn_at_random(facts)], tables, [_forest(facts, group) for group in groups])


def _comparison(facts: Facts, measures: Sequence[Json]) -> Table:
    head = ["", "Cases"] + [cell for m in measures for cell in (_capital(m["label"]), "less the parent’s")]
    rows = [_competitor(facts, role, measures) for role in competitors(facts.report)]
    better = "higher" if measures[0]["higher_is_better"] else "lower"
    caption = f"{_capital(measures[0]['unit'])}, with its 95 % bootstrap interval; {better} is better."
    if measures[0]["key"] == "test" and len(measures) > 1:
        caption += f" {_capital(measures[0]['label'])}: this run’s own rule."
    return Table(rows, head, caption, rows[-1][0])


def _competitor(facts: Facts, role: str, measures: Sequence[Json]) -> list[str]:
    block = facts.report[role]
    row = [_capital(named(role, block)), str(block[measures[0]["key"]]["n"])]
    for measure in measures:
        key, digits = measure["key"], measure["digits"]
        difference = "" if role == "parent" else interval(block[f"{key}_difference"], digits, "+")
        row += [cell.replace(", ", ",\u00a0") for cell in (interval(block[key], digits), difference)]
    return row  # in a narrow table an interval stands below its score, in one piece


def _forest(facts: Facts, measures: Sequence[Json]) -> Picture:
    unit = measures[0]["unit"]
    return drawn(
        figures.forest(facts.report, [(m["key"], m["label"]) for m in measures], unit),
        f"Interval plot of {unit}: scores on the left, paired differences to the parent on the right.",
    )


def _capital(text: str) -> str:
    """Begin with a capital, but for names such as cNLL."""
    return text if text[1:2].isupper() else text[:1].upper() + text[1:]


def _drawn_at_random(facts: Facts) -> str:
    drawn = facts.report["random_children"]
    return (
        f"{_capital(named('random_children', drawn))}: {drawn['draws']} draws from the {drawn['of']}, which share the "
        "test cases between them."
    )
