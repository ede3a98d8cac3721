"""Make a table: every chosen cell that is not there yet, then the table of all that are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from evoens.config.table import RESOLVED, Row, Table
from evoens.errors import CheckpointError, EvoensError
from evoens.machine.allocator import let_go
from evoens.machine.environment import versions
from evoens.problem import Problem
from evoens.report.console import Reporter
from evoens.storage.checkpoint import RunLock
from evoens.storage.files import write_atomic
from evoens.tables.cell import SPLITS, Cell
from evoens.tables.making import Maker, identity_of
from evoens.tables.page import write_page
from evoens.tables.summary import Line, summary
from evoens.tables.written import FORMAT, write_table

ROWS = "rows"


def make_table(
    table: Table, rows: Sequence[Row], seeds: Sequence[int], folder: Path, console: Reporter
) -> dict[str, Any]:
    """Make cells in `folder`, where interrupted ones go on to the same bits, and write the table of all that are there.

    Args:
        table: what is made.
        rows: those of it that are wanted now.
        seeds: of each.
        folder: of the table.
        console: is told what happens.

    Returns:
        What table.json holds.

    Raises:
        CheckpointError: the folder has something else in it, or cells of other settings.
    """
    maker = Maker(table, folder, console, console.preparation)
    for row in rows:
        maker.method(row)  # what is wrong is found before anything is trained
    first = rows[0].config(seeds[0], table.base)
    task = maker.task(first)
    problem = task.problem(task.untrained())
    _require_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / RESOLVED, table.resolved)
    for seed in seeds:
        for row in rows:
            console.on_stage(f"{row.label}, seed {seed}")
            _make(maker, row, seed, cell_folder(folder, row, seed))
    lines = [line for row in table.rows if (line := _line(table, row, folder, console)).cells]
    if not lines:
        raise EvoensError(f"{folder}: expected a row that can be made, found none")
    settings = table.settings
    own = table_of(settings.name, lines, problem, settings.baseline, first.report.bootstrap)
    found = {**own, "budget": settings.budget.model_dump(), "config": table.resolved}
    write_table(folder, found)
    write_page(folder, found)
    return found


def _make(maker: Maker, row: Row, seed: int, place: Path) -> None:
    """Make a cell; one that cannot be made ends nothing but itself."""
    try:
        with RunLock(place):
            maker.make(row, seed, place)
    except CheckpointError:  # of other settings, or held by another process: the user is to say what is meant
        raise
    except EvoensError as error:
        maker.console.on_warning(f"{row.label}, seed {seed} is left out: {error}")
    let_go()


def table_of(name: str, lines: Sequence[Line], problem: Problem, baseline: str, resamples: int) -> dict[str, Any]:
    """Return what table.json holds of any rows that were measured on one problem."""
    schema = problem.measure_schema()
    measures = [{**row, "name": own.name} for row, own in zip(schema, problem.measures, strict=True)]
    settings = getattr(problem, "settings", None)
    return {
        "format": FORMAT,
        "name": name,
        "problem": settings.model_dump(mode="json", by_alias=True) if settings else {},
        "splits": {split: problem.describe(split) for split in SPLITS},
        "seeds": sorted({seed for line in lines for seed in line.cells}),
        "baseline": baseline,
        "measures": [{key: own[key] for key in own if key != "key"} for own in measures],
        "rows": summary(lines, problem.measures, baseline, resamples),
        "versions": versions(),
    }


def cell_folder(folder: Path, row: Row, seed: int) -> Path:
    """Return where a cell is."""
    return folder / ROWS / row.label / str(seed)


def _line(table: Table, row: Row, folder: Path, console: Reporter) -> Line:
    """A row with all of its cells that are there, whenever they were made."""
    cells = dict[int, Cell]()
    for place in sorted((folder / ROWS / row.label).glob("*"), key=lambda place: (len(place.name), place.name)):
        if place.name.isdecimal():
            seed = int(place.name)
            try:
                cell = Cell.load(place, identity_of(row, row.config(seed, table.base)))
            except CheckpointError as error:
                console.on_warning(f"{row.label}, seed {seed} is left out: {error}")
            else:
                cells |= {} if cell is None else {seed: cell}
    return Line(row.label, row.method, row.arguments, cells)


def _require_free(folder: Path) -> None:
    if folder.exists() and not (folder / RESOLVED).is_file() and any(folder.iterdir()):
        raise CheckpointError(f"{folder}: expected no such folder yet, or a table's, found another; choose --name")
