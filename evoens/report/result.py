"""The first section of a report: who was compared, by which measures, and how far apart they are."""

from __future__ import annotations

from collections.abc import Sequence

from evoens.report import figures
from evoens.report.facts import Facts, Json
from evoens.report.parts import Picture, Section, Table, drawn
from evoens.report.tables import competitors, named
from evoens.scoring.text import capital, interval


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
    words = [text, *_stopping(facts), _drawn_at_random(facts)]
    tables = [*(_comparison(facts, group) for group in groups), *_temperatures(facts), *_seen(facts)]
    return Section(name, title, words, tables, [_forest(facts, group) for group in groups])


def _comparison(facts: Facts, measures: Sequence[Json]) -> Table:
    head = ["", "Cases"] + [cell for m in measures for cell in (capital(m["label"]), "less the parent’s")]
    rows = [_competitor(facts, role, measures) for role in competitors(facts.report)]
    better = "higher" if measures[0]["higher_is_better"] else "lower"
    caption = f"{capital(measures[0]['unit'])}, with its 95 % bootstrap interval; {better} is better."
    if measures[0]["key"] == "test" and len(measures) > 1:
        caption += f" {capital(measures[0]['label'])}: this run’s own rule."
    return Table(rows, head, caption, capital(named("ensemble", facts.report["ensemble"])))


def _competitor(facts: Facts, role: str, measures: Sequence[Json]) -> list[str]:
    block = facts.report[role]
    row = [capital(named(role, block)).replace(" = ", "\u00a0=\u00a0"), str(block[measures[0]["key"]]["n"])]
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


def _drawn_at_random(facts: Facts) -> str:
    drawn = facts.report["random_children"]
    return (
        f"{capital(named('random_children', drawn))}: {drawn['draws']} draws from the {drawn['of']}, which share the "
        "test cases between them."
    )


def _seen(facts: Facts) -> list[Table]:
    """What parent and ensemble reach on cases that the parent has learnt on, where these were measured."""
    found = facts.report.get("details", {}).get("seen")
    if not found:
        return []
    digits = facts.measures[0]["digits"]
    rows = [
        [capital(name), *(interval(block, digits) for block in (found[name], facts.report[name]["test"]))]
        for name in ("parent", "ensemble")
    ]
    caption = f"{found['parent']['n']} cases of those that the parent has learnt on; the rest of the way to the test "
    caption += "cases is what was learnt by heart."
    return [Table(rows, ["", "Learnt on", "Unseen"], caption)]


def _stopping(facts: Facts) -> list[str]:
    """Say how many cases were measured, of how many, and why no more, where the run was to know a difference so far."""
    found = facts.report.get("stopping")
    if not found:
        return []
    wanted, reached = f"±{found['precision']:g}", f"±{facts.number(found['half_width'])}"
    many = f"{found['measured']} of {found['of']} cases were measured, in blocks of {found['block']}"
    if found["reason"] == "precision":
        why = f"then the ensemble’s difference from the parent was known to {reached}, as closely as {wanted} asks"
    else:
        enough = found["measured"] * (found["half_width"] / found["precision"]) ** 2
        why = (
            f"there are no more, and the ensemble’s difference from the parent is known to {reached}, not to {wanted}, "
            f"for which about {enough:,.0f} are needed"
        )
    return [f"{many}: {why}. When to stop is told by the width of that interval alone, whichever side it lies on."]


def _temperatures(facts: Facts) -> list[Table]:
    """Return what each action temperature brings on the select split, where policies' actions are drawn."""
    details = facts.report.get("details", {})
    tried = details.get("action_temperatures")
    if not tried:
        return []
    rows = [
        [f"T\u00a0=\u00a0{own[0]['temperature']:g}", *(cell for row in own for cell in _gain(facts, row))]
        for own in zip(*tried.values(), strict=True)
    ]
    head = ["", *(cell for who in tried for cell in (capital(who), "less T = 1’s, ± standard error"))]
    fitted = ", ".join(f"{details['temperature'][who]:g} for the {who}" for who in tried)
    caption = (
        f"{capital(facts.unit)} on the select split by action temperature. Chosen is the best, where it is above 1 by "
        f"more than the standard error: {fitted}."
    )
    return [Table(rows, head, caption)]


def _gain(facts: Facts, row: Json) -> list[str]:
    same = row["temperature"] == 1
    less = "" if same else f"{facts.number(row['difference'], '+')} ±\u00a0{facts.number(row['standard_error'])}"
    return [facts.number(row["score"]), less]
