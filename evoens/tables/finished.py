"""Finished runs side by side: those that differ in their seed alone are a row, and their parents are one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from evoens.config.load import RESOLVED, Loaded, load
from evoens.errors import CheckpointError
from evoens.evaluation.result_cache import ResultCache
from evoens.problem import Evaluation, Problem
from evoens.progress import OnCount
from evoens.storage.checkpoint import CheckpointStore
from evoens.storage.json_file import as_written, read_json
from evoens.tables.cell import Cell, Cost
from evoens.tables.page import write_page
from evoens.tables.summary import Line
from evoens.tables.work import table_of
from evoens.tables.written import write_table
from evoens.tasks import open_task

PARENT, ENSEMBLE = "parent", "ensemble"


def compare_finished(folders: Sequence[Path], name: str, folder: Path, told: OnCount) -> dict[str, Any]:
    """Write the table of finished runs to `folder`, and return what table.json holds.

    Args:
        folders: of the runs, which are of one problem.
        name: of the table.
        folder: of the table.
        told: hears how many images are decoded.

    Raises:
        CheckpointError: a run is not finished, or of another problem than the first.
    """
    loaded = {run: load(run / RESOLVED, retrain=(run / PARENT).is_dir()) for run in folders}
    first = next(iter(loaded.values()))
    for run, own in loaded.items():
        if own.config.problem != first.config.problem:
            raise CheckpointError(f"{run}: expected a run on the problem of {folders[0]}, found one on another")
    task = open_task(first.config, first.base, told)
    problem = task.problem(task.untrained())
    ensembles, parents = _lines(loaded, problem)
    lines = [*parents, *ensembles]
    found = table_of(name, lines, problem, parents[0].label, first.config.report.bootstrap)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder, found)
    write_page(folder, found)
    return found


def _lines(loaded: Mapping[Path, Loaded], problem: Problem) -> tuple[list[Line], list[Line]]:
    """The rows of ensembles, and those of their parents, each parent once."""
    ensembles, parents = dict[str, Line](), list[Line]()
    kinds = dict[str, str]()
    for run, own in loaded.items():
        config = own.config.model_dump(mode="json", by_alias=True)
        kind = repr({key: value for key, value in config.items() if key not in ("name", "seed")})
        label = kinds.setdefault(kind, own.config.name)
        cells, seed = _cells(run, problem), own.config.seed
        line = ensembles.get(label) or Line(label, own.config.strategy.class_, {}, {})
        if seed in line.cells:
            raise CheckpointError(f"{run}: expected runs of different seeds or settings, found {label}'s again")
        ensembles[label] = Line(label, line.method, {}, {**line.cells, seed: cells[ENSEMBLE]})
        _add_parent(parents, label, seed, cells[PARENT])
    return list(ensembles.values()), parents


def _add_parent(parents: list[Line], label: str, seed: int, cell: Cell) -> None:
    """Add a parent to the first row that has none of its seed, or the same; else it has a row of its own."""
    for place, line in enumerate(parents):
        other = line.cells.get(seed)
        if other is None or torch.equal(other.evaluation.cases, cell.evaluation.cases):
            parents[place] = Line(line.label, PARENT, {}, {**line.cells, seed: other or cell})
            return
    parents.append(Line(f"{PARENT} of {label}" if parents else PARENT, PARENT, {}, {seed: cell}))


def _cells(run: Path, problem: Problem) -> dict[str, Cell]:
    """What parent and ensemble of a finished run have reached."""
    report = read_json(run / "report.json", "the report of a finished run")
    saved, _ = CheckpointStore(run / "checkpoints").latest()
    if saved is None:
        raise CheckpointError(f"{run}: expected a run with its checkpoint, which has its measurements, found none")
    with as_written(run, "what a finished run leaves"):
        ledger = ResultCache.load(saved.state["ledger"], saved.tensors)
        cost, size = report["cost"], report[ENSEMBLE]["size"]
        return {
            PARENT: Cell(_whole(ledger, PARENT), 1, _cost(cost, PARENT)),
            ENSEMBLE: Cell(_whole(ledger, ENSEMBLE), size, _cost(cost, ENSEMBLE)),
        }


def _whole(ledger: ResultCache, who: str) -> Evaluation:
    """What somebody has reached on all test cases that were measured, in order."""
    found = dict[int, Evaluation]()
    for name, entry in ledger.entries.items():
        split, place, own = name.split("/", 2)
        if split == "test" and own == who:
            found[int(place.partition("+")[0])] = entry.evaluation
    parts = [found[first] for first in sorted(found)]
    beside = {key: torch.cat([part.extra_metrics[key] for part in parts]) for key in parts[0].extra_metrics}
    return Evaluation(torch.cat([part.cases for part in parts]), sum(part.samples for part in parts), beside)


def _cost(cost: Mapping[str, Any], who: str) -> Cost:
    """What a run's report says of the cost, as far as runs of its time said it."""
    epochs, flops = cost.get("epochs", {}), cost.get("flops", {})
    trained = ("parent",) if who == PARENT else ("parent", "children")
    spent = [flops.get("training", {}).get(name) for name in trained]
    return Cost(
        epochs=float(sum(epochs.get(name) or 0 for name in trained)),
        training_flops=None if None in spent else sum(spent),
        answer_flops=flops.get(PARENT) if who == PARENT else flops.get("nonzero"),
        weights=cost.get("weights", {}).get(who),
        seconds=0.0 if who == PARENT else cost["seconds"],
        peak_memory=round(cost["peak_rss_mb"] * 2**20),
    )
