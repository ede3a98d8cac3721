"""The sections on what a search keeps beside the best child: a Pareto front, an archive of kinds."""

from __future__ import annotations

from collections.abc import Sequence

from evoens.diversity.behaviour import behaviours
from evoens.report import search_figures
from evoens.report.facts import Facts, Json
from evoens.report.parts import Section, Table, drawn
from evoens.scoring.text import capital

SHOWN = 24  # rows of a table
UNITS = {
    "diversity": "mean distance to the others",
    "nll": "NLL, nats",
    "sparsity": "share of weights as in the parent",
    "size": "genes",
}


def searched(facts: Facts) -> list[Section]:
    """Return the sections, as far as the run's search has a front or an archive."""
    found = facts.report
    return [
        *([_front(facts, found["front"])] if found.get("front") else []),
        *([_archive(facts, found["archive"])] if found.get("archive") else []),
    ]


def _front(facts: Facts, found: Json) -> Section:
    names, children = found["objectives"], found["children"]
    sides = ", ".join(
        f"{name} ({'higher' if more else 'lower'} is better)" for name, more in zip(names, found["more"], strict=True)
    )
    last = facts.generations[-1].get("search", {}).get("hypervolume")
    text = [
        f"The search weighed {sides}. The Pareto front has {len(children)} of {len(facts.scored)} children: no "
        "other is at least as good by all of these, and better by one. Members were chosen from it on the select "
        "split, and from who comes next where it is small."
    ]
    if last is not None:
        text.append(
            f"Its hypervolume in the end is {last:.3g}, in units of what lies between the worst and the best that the "
            "first generation reached by each objective."
        )
    best_first = sorted(children, key=lambda row: -row[names[0]] if found["more"][0] else row[names[0]])
    generations = {row["key"]: row["generation"] for row in facts.scored}
    rows = [
        [
            row["key"][:12],
            str(generations.get(row["key"], "–")),
            *(f"{row[name]:.4g}" for name in names),
            _member(facts, row),
        ]
        for row in best_first[:SHOWN]
    ]
    labels = {name: UNITS.get(name, facts.unit) for name in names}
    every = [{"key": row["key"], "score": row["fitness"], **row.get("traits", {})} for row in facts.scored]
    plot = search_figures.front(every, [row["key"] for row in children], facts.members, labels)
    words = f"Scatter plots of all children by {names[0]} and the other objectives, the Pareto front marked."
    table = Table(rows, ["Child’s key", "Generation", *map(search_figures.named, names), ""], _caption(len(children)))
    return Section("front", "Pareto front", text, [table], [drawn(plot, words)])


def _archive(facts: Facts, found: Json) -> Section:
    titles = [behaviours()[name].title for name in found["measures"]]
    labels = [behaviours()[name].label for name in found["measures"]]
    elites: Sequence[Json] = found["elites"]
    text = (
        f"The search kept the best child of each kind, told apart by {' and '.join(titles)}: {len(elites)} of "
        f"{found['cells'] ** 2} cells hold one. The grid was laid around the first generation, and whoever is beyond "
        "belongs to the cells at its edge. Members were chosen on the select split from the whole archive."
    )
    plot = search_figures.archive(found, facts.members, labels, facts.unit)
    rows = [
        [e["key"][:12], facts.number(e["fitness"]), *(f"{x:.4g}" for x in e["measures"]), _member(facts, e)]
        for e in sorted(elites, key=lambda e: -e["fitness"])[:SHOWN]
    ]
    table = Table(rows, ["Child’s key", "Fitness", *map(capital, titles), ""], _caption(len(elites)))
    words = f"Heat map of the archive: the best fitness in each cell, by {' and '.join(titles)}."
    return Section("archive", "Archive of kinds", [text], [table], [drawn(plot, words)])


def _member(facts: Facts, row: Json) -> str:
    return "member" if row["key"] in facts.members else ""


def _caption(n: int) -> str:
    return f"The best {SHOWN} of {n}; report.json has all of them." if n > SHOWN else ""
