"""From cells to a table: means over seeds, paired differences to a row, and what is on the Pareto front of a cost."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from evoens.problem import Measure
from evoens.scoring.metrics import Statistic, bootstrap, difference
from evoens.scoring.pareto import fronts
from evoens.tables.cell import Cell

COSTS = ("training_flops", "answer_flops", "weights")
"""Those over which a front is drawn."""


@dataclass(frozen=True)
class Line:
    """A row of a table with its cells, by seed."""

    label: str
    method: str
    arguments: Mapping[str, Any]
    cells: Mapping[int, Cell]


def summary(
    lines: Sequence[Line], measures: Sequence[Measure], baseline: str, resamples: int, seed: int = 0
) -> list[dict[str, Any]]:
    """Return what table.json has of each row.

    A difference is taken case by case and seed by seed from the row `baseline`, and averaged over the seeds that both
    have; its interval is that of the same networks on other cases (percentile bootstrap of the cases), and `sd` says
    how far seeds are apart.

    Args:
        lines: the rows; the baseline is among them, or else there are no differences.
        measures: of the problem, the score first.
        baseline: the label of the row that differences are taken from.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    whose = next((line for line in lines if line.label == baseline), None)
    rows = []
    for line in lines:
        scores, less = {}, {}
        for measure in measures:
            own = _statistics(line, measure, measures[0])
            scores[measure.name] = spread([statistic.score for statistic in own.values()])
            other = _statistics(whose, measure, measures[0]) if whose and whose is not line else {}
            pairs = [difference(own[s], other[s]) for s in own if s in other]
            if pairs:
                interval = bootstrap(mean_of_all(pairs), resamples, seed).to_json()
                apart = spread([pair.score for pair in pairs])["sd"]
                less[measure.name] = {**interval, "sd": apart, "seeds": len(pairs)}
        rows.append(
            {
                "label": line.label,
                "method": line.method,
                "arguments": dict(line.arguments),
                "seeds": list(line.cells),
                "size": spread([cell.size for cell in line.cells.values()])["mean"],
                "scores": scores,
                "differences": less,
                "diversity": _means([cell.diversity for cell in line.cells.values()]),
                "cost": _means([asdict(cell.cost) for cell in line.cells.values()]),
            }
        )
    return rows


def _statistics(line: Line, measure: Measure, score: Measure) -> dict[int, Statistic]:
    """The measure of every cell, by its seed; `score` is the one that evaluations have apart."""
    found = {}
    for seed, cell in line.cells.items():
        own = cell.evaluation
        rows = own.cases if measure is score else own.extra_metrics[measure.rows or measure.name]
        found[seed] = measure.statistic(rows)
    return found


def mean_of_all(several: Sequence[Statistic]) -> Statistic:
    """Return the mean of several statistics of the same cases, of the same resamples."""
    return Statistic(several[0].n, lambda places: np.mean([one.of(places) for one in several], axis=0))


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, standard deviation (None of one value) and the values."""
    sd = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "sd": sd, "values": list(values)}


def _means(rows: Sequence[Mapping[str, float | None]]) -> dict[str, float | None]:
    """The mean of each figure over rows; None where one has none."""
    columns = {name: [row.get(name) for row in rows] for name in rows[0]}
    known = {name: [value for value in column if value is not None] for name, column in columns.items()}
    return {name: statistics.fmean(own) if len(own) == len(rows) else None for name, own in known.items()}


def front(rows: Sequence[Mapping[str, Any]], measure: Mapping[str, Any], cost: str) -> list[str]:
    """Return the labels of the rows on the Pareto front: no other is as good and as cheap, and better or cheaper.

    Args:
        rows: as `summary` gives them; one whose cost is not known is left out.
        measure: `name` and `higher_is_better`.
        cost: a name in `COSTS`; less is better.
    """
    known = [row for row in rows if row["cost"][cost] is not None]
    sign = 1 if measure["higher_is_better"] else -1
    points = [[sign * row["scores"][measure["name"]]["mean"], -row["cost"][cost]] for row in known]
    return [known[place]["label"] for place in next(fronts(points), [])] if points else []
