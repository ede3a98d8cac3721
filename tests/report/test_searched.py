"""The sections on a front and an archive: the numbers of report.json, in a table and in a picture."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from sample_run import write_run

from evoens.report import search_figures
from evoens.report.facts import read_facts
from evoens.report.parts import Section
from evoens.report.searched import SHOWN, searched

LABELS = {"score": "accuracy", "diversity": "mean distance", "nll": "NLL, nats"}


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    kept: list[Figure] = []
    monkeypatch.setattr(search_figures, "svg", lambda figure: kept.append(figure) or "<svg/>")
    return kept


def sections(folder: Path, **found: Any) -> list[Section]:
    report = write_run(folder)
    if found.get("front"):
        found["front"]["children"][0]["key"] = report["ensemble"]["members"][0]
    (folder / "report.json").write_text(json.dumps({**report, **found}))
    rows = [json.loads(line) for line in (folder / "population.jsonl").read_text().splitlines()]
    for place, row in enumerate(rows):
        row["traits"] = {"nll": None if place == 5 else place / 10}
    (folder / "population.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return searched(read_facts(folder).from_one())


def test_there_is_none_of_them_where_the_search_has_none(tmp_path: Path) -> None:
    assert sections(tmp_path / "run") == []


def test_the_front_is_a_table_and_a_scatter_plot(tmp_path: Path, drawn: list[Figure]) -> None:
    children = [{"key": "a member's", "score": 1.5, "nll": 0.25}, {"key": "b" * 64, "score": 2.5, "nll": 0.5}]
    (section,) = sections(
        tmp_path / "run", front={"objectives": ["score", "nll"], "more": [True, False], "children": children}
    )
    assert "score (higher is better), nll (lower is better)" in section.text[0]
    (table,) = section.tables
    assert list(table.head) == ["Child’s key", "Generation", "Score", "NLL", ""]
    assert table.rows[0] == ["b" * 12, "–", "2.5", "0.5", ""]  # the best by the first objective comes first
    assert table.rows[1][2:] == ["1.5", "0.25", "member"] and len(table.rows) == 2
    (axis,) = drawn[0].axes
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("episode return", "NLL, nats")
    others, best, members = (line.get_xydata() for line in axis.lines)
    assert len(best) == 1 and len(members) >= 1  # the other of the front is not in this population
    assert np.isnan(others[:, 1]).sum() <= 1


def test_a_front_of_several_objectives_has_a_panel_for_each_beside_the_first(drawn: list[Figure]) -> None:
    rows = [{"key": str(i), "score": i, "diversity": 2 * i, "nll": 3 * i} for i in range(4)]
    search_figures.front(rows, ["3"], ["2"], LABELS)
    assert [axis.get_title(loc="left") for axis in drawn[0].axes] == ["Diversity", "NLL"]
    others, front, members = (line.get_xydata().tolist() for line in drawn[0].axes[1].lines)
    assert (others, front, members) == ([[0, 0], [1, 3], [2, 6]], [[3, 9]], [[2, 6]])


def archive(n: int = 3) -> dict[str, Any]:
    elites = [
        {"key": f"{i:064}", "cell": [i % 4, i // 4 % 4], "fitness": float(i), "measures": [i / 8, 0.5]}
        for i in range(n)
    ]
    shape = {"measures": ["kl", "confidence"], "cells": 4, "ranges": [[0.0, 2.0], [0.5, 0.9]]}
    return {**shape, "elites": elites}


def test_the_archive_is_a_heat_map_of_fitness(drawn: list[Figure]) -> None:
    found = archive()
    found["elites"][1]["cell"] = [3, 1]
    search_figures.archive(found, [found["elites"][1]["key"]], ["kl", "confidence"], "accuracy")
    axis, bar = drawn[0].axes
    (mesh,) = axis.collections
    values = np.ma.filled(mesh.get_array(), np.nan)
    assert values.shape == (4, 4) and values[0, 0] == 0 and values[1, 3] == 1 and values[0, 2] == 2  # (y, x)
    assert np.isnan(values).sum() == 13
    (members,) = axis.lines
    assert np.allclose(members.get_xydata(), [[1.75, 0.65]])
    assert axis.get_xlabel() == "kl" and bar.get_ylabel() == "fitness: accuracy"
    search_figures.archive(found, [], ["kl", "confidence"], "accuracy")  # members are none of them


def test_a_large_archive_shows_its_best(tmp_path: Path, drawn: list[Figure]) -> None:
    (section,) = sections(tmp_path / "run", archive=archive(40))
    (table,) = section.tables
    assert len(table.rows) == SHOWN and table.rows[0][1] == "39.00" and f"{SHOWN} of 40" in table.caption
    assert list(table.head)[2:] == ["Distance to the parent by kl", "Confidence", ""]
    assert "40 of 16 cells" in section.text[0]


def test_the_same_numbers_give_the_same_svg() -> None:
    rows = [{"key": str(i), "score": i, "diversity": 2 * i} for i in range(4)]
    labels = {name: LABELS[name] for name in ("score", "diversity")}
    drawings = [search_figures.front(rows, ["3"], ["2"], labels) for _ in range(2)]
    drawings += [search_figures.archive(archive(), [], ["kl", "confidence"], "accuracy") for _ in range(2)]
    assert drawings[0] == drawings[1] and drawings[2] == drawings[3]
