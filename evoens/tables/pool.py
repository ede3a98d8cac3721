"""A pool: the predictors of a table as members of ensembles of any few of them, from their kept outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evoens.analysis.failures import together
from evoens.analysis.subsets import Subsets, correlations, greedy, subsets_of
from evoens.config.table import RESOLVED, load_table
from evoens.diversity.measures import of_outputs
from evoens.errors import CheckpointError, ConfigError
from evoens.progress import OnCount
from evoens.scoring.subsets import Pool
from evoens.storage.files import write_atomic
from evoens.tables.cell import Cell
from evoens.tables.pool_page import page
from evoens.tables.work import ROWS
from evoens.tasks import open_task
from evoens.tasks.labelled import LabelledProblem

FILE = "pool"
LEAST = 3  # members: of two there is one ensemble
SHOWN = 10  # of the best subsets
CONSENSUS = ("mean", "vote")


@dataclass(frozen=True)
class Members:
    """The members of a pool.

    Attributes:
        names: one a member.
        outputs: their probabilities by split, `(m, n, c)`.
        labels: the right classes by split, `(n,)`.
        weights: how many numbers each needs.
    """

    names: Sequence[str]
    outputs: Mapping[str, Tensor]
    labels: Mapping[str, Tensor]
    weights: Sequence[float]


def write_pool(folder: Path, size: int, budget: float | None, told: OnCount) -> dict[str, Any]:
    """Score the ensembles of a table's predictors, write pool.json and pool.html to its folder, and return the first.

    Args:
        folder: of the table.
        size: of an ensemble.
        budget: the numbers that the members of the best may need together; None where any may.
        told: hears how many images are decoded.

    Raises:
        CheckpointError: there is no such table, or it has too few predictors with kept outputs.
        ConfigError: its problem has no classes.
    """
    found = pool(members_of(folder, told), size, budget)
    write_atomic(folder / f"{FILE}.json", json.dumps(found, indent=1) + "\n")
    write_atomic(folder / f"{FILE}.html", page(folder.resolve().name, found))
    return found


def members_of(folder: Path, told: OnCount) -> Members:
    """Return the predictors of a table as members, a seed of a row each; the arguments are those of `write_pool`."""
    if not (folder / RESOLVED).is_file():
        raise CheckpointError(f"{folder}: expected the folder of a table that compare has made, found none")
    table = load_table(folder / RESOLVED)
    config = table.rows[0].config(table.settings.seeds[0], table.base)
    task = open_task(config, table.base, told)
    problem = task.problem(task.untrained())
    if not isinstance(problem, LabelledProblem):
        raise ConfigError(f"problem.type: expected a problem with classes, found {config.problem.type}")
    places = [place for row in table.rows for place in sorted((folder / ROWS / row.label).glob("*"))]
    found = {f"{place.parent.name} {place.name}": cell for place in places if (cell := Cell.load(place))}
    cells = {name: cell for name, cell in found.items() if cell.outputs}
    splits = ("select", "test")
    outputs = {name: torch.stack([cell.outputs[name] for cell in cells.values()]) for name in splits if cells}
    labels = {
        "select": problem.part(problem.split("select")).labels,
        "test": problem.part(problem.split("test")).labels,
    }
    weights = [float(cell.cost.weights or 0) for cell in cells.values()]
    return Members(list(cells), outputs, labels, weights)


def pool(members: Members, size: int, budget: float | None = None) -> dict[str, Any]:
    """Return what pool.json holds; the arguments are those of `write_pool`."""
    if len(members.names) < LEAST:
        found = ", ".join(members.names) or "none"
        raise CheckpointError(f"expected a table with at least {LEAST} predictors that are finished, found {found}")
    if budget is not None and not budget > 0:
        raise ConfigError(f"--budget: expected a number above 0, found {budget:g}")
    if not 2 <= size < len(members.names):
        known = f"expected 2 to {len(members.names) - 1}, less than the pool has members ({len(members.names)})"
        raise CheckpointError(f"--size: {known}, found {size}")
    outputs, labels = members.outputs["test"], members.labels["test"]
    pairs = {measure.name: measure.distances(outputs) for measure in of_outputs()}
    every = subsets_of(outputs, labels, size, seed=0, pairs=pairs, alone={"weights": members.weights})
    return {
        "size": size,
        "subsets": len(every.members),
        "members": [
            {"name": name, "accuracy": float(alone), "weights": weights}
            for name, alone, weights in zip(
                members.names, (outputs.argmax(-1) == labels).double().mean(1), members.weights, strict=True
            )
        ],
        "improvement": {name: _spread(gain) for name, gain in every.improvements.items()},
        "correlations": {name: correlations(every, name, len(outputs)) for name in CONSENSUS},
        "failures": together(outputs, labels, seed=0),
        "chosen": _chosen(members, size, budget),
        "points": _points(every),
    }


def _spread(gain: Any) -> dict[str, float]:
    return {
        "mean": float(gain.mean()),
        "least": float(gain.min()),
        "most": float(gain.max()),
        "above": float((gain > 0).mean()),
    }


def _points(every: Subsets) -> dict[str, Any]:
    """What the pictures are drawn from."""
    traits = {name: values.tolist() for name, values in every.traits.items()}
    gains = {name: values.tolist() for name, values in every.improvements.items()}
    return {"accuracy": every.scores.accuracy.tolist(), "gains": gains, "traits": traits}


def _chosen(members: Members, size: int, budget: float | None) -> dict[str, Any]:
    """The best ensembles by their NLL on select, of all that are scored, and one after another; told on test."""
    select, test = (Pool(members.outputs[name], members.labels[name]) for name in ("select", "test"))
    every = subsets_of(
        members.outputs["select"], members.labels["select"], size, seed=0, pairs={}, alone={"weights": members.weights}
    )
    allowed = np.ones(len(every.members), bool) if budget is None else every.traits["weights"] * size <= budget
    if not allowed.any():
        least = float(every.traits["weights"].min() * size)
        raise ConfigError(
            f"--budget: expected at least {least:,.0f}, what the smallest ensemble needs, found {budget:,.0f}"
        )
    order = np.lexsort((every.scores.nll.numpy(), ~allowed))[: int(min(SHOWN, allowed.sum()))]
    best = [every.members[place].tolist() for place in order]
    one_by_one = greedy(members.outputs["select"], members.labels["select"], size)
    return {
        "budget": budget,
        "best": [_told(members, subset, select, test) for subset in best],
        "greedy": _told(members, one_by_one, select, test),
    }


def _told(members: Members, subset: Sequence[int], select: Pool, test: Pool) -> dict[str, Any]:
    chosen, own = select.score([subset]), test.score([subset])
    return {
        "members": [members.names[place] for place in subset],
        "weights": sum(members.weights[place] for place in subset),
        "select_nll": float(chosen.nll[0]),
        "accuracy": float(own.accuracy[0]),
        "nll": float(own.nll[0]),
        "improvement": float(own.improvement[0]),
    }
