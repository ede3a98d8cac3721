from __future__ import annotations

import random
from typing import Any

import pytest
from matplotlib.figure import Figure
from sample_run import population

from evoens.report.lineage import lineage
from evoens.report.style import BLUE

UNIT = "episode return"


def child(name: str, generation: int, fitness: float, genome: list[str]) -> dict[str, Any]:
    return {"key": name, "generation": generation, "fitness": fitness, "genome": [{"gene": gene} for gene in genome]}


FAMILY = [
    child("a", 1, 3.0, ["a"]),
    child("b", 1, 2.0, ["b"]),
    child("ac", 2, 4.0, ["a", "c"]),
    child("ad", 2, 1.0, ["a", "d"]),
    child("ace", 3, 5.0, ["a", "c", "e"]),
]


def edges(figure: Figure, colour: str | None = None) -> list[list[float]]:
    """The fitness at both ends of each line that joins two children."""
    lines = [line for line in figure.axes[0].lines if len(line.get_xdata()) == 2 and line.get_marker() == "None"]
    lines = [line for line in lines if line.get_linestyle() == "-" and colour in (None, line.get_color())]
    return sorted(list(line.get_ydata()) for line in lines)


def test_a_child_is_joined_to_whom_it_has_one_gene_more_than() -> None:
    assert edges(lineage(FAMILY, [], 2.5, UNIT)) == [[3.0, 1.0], [3.0, 4.0], [4.0, 5.0]]


def test_the_line_of_a_member_is_traced_to_the_first_generation() -> None:
    assert edges(lineage(FAMILY, ["ace"], 2.5, UNIT), BLUE) == [[3.0, 4.0], [4.0, 5.0]]
    assert edges(lineage(FAMILY, ["b"], 2.5, UNIT), BLUE) == []


def test_a_mother_that_is_not_shown_joins_nothing() -> None:
    assert edges(lineage([row for row in FAMILY if row["key"] != "ac"], [], None, UNIT)) == [[3.0, 1.0]]


@pytest.mark.parametrize("generations", [1, 3])
def test_children_stay_in_their_generation(generations: int) -> None:
    rows = [row for row in population(generations, random.Random(3)) if row["fitness"] is not None]
    members = [rows[1]["key"], rows[4]["key"]]
    others, chosen, parent = lineage(rows, members, 1.08, UNIT).axes[0].lines
    assert len(chosen.get_xdata()) == len(members) and len(others.get_xdata()) == len(rows) - len(members)
    drawn_at = sorted(point for line in (others, chosen) for point in line.get_xydata().tolist())
    assert [round(x) for x, _ in drawn_at] == [row["generation"] for row in rows]
    assert [y for _, y in drawn_at] == [row["fitness"] for row in rows]
    assert set(parent.get_ydata()) == {1.08}
