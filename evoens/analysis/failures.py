"""Which cases members fail on together: of all, class by class, and pair by pair."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evoens.analysis import figures
from evoens.analysis.part import Shown
from evoens.diversity.failures import Bools, coincidence, pairwise_coincidence
from evoens.report.parts import Table
from evoens.scoring.calibration import correct
from evoens.scoring.metrics import bootstrap

RESAMPLES = 1000
CLASSES = 30  # that the page tells; the file has all
TEXT = (
    "Two members that failed independently would fail together as often as the product of their errors says: that is "
    "1 below (Littlewood & Miller 1989). Above it some cases are difficult for all, and a vote mends little there."
)


def failures(outputs: Tensor, labels: Tensor, names: Sequence[str], seed: int) -> tuple[dict[str, Any], Table, Shown]:
    """Return how often members fail together, over what chance would have, as figures, as a table and as a picture.

    Args:
        outputs: the members' probabilities, `(k, n, c)`, k ≥ 2.
        labels: `(n,)`.
        names: of the members.
        seed: of the bootstrap.
    """
    rows, right = together(outputs, labels, seed), _right(outputs, labels)
    head = ["Cases", "How many", "Members’ mean error", "Both of two fail", "over chance", "95 %"]
    table = Table([_row(name, row) for name, row in list(rows.items())[: CLASSES + 1]], head, TEXT)
    matrix = {"both fail, over chance": pairwise_coincidence(right).numpy()}
    words = "A square for each pair of members, brighter where they fail together more often than chance would have."
    return rows, table, Shown("outputs-failures.svg", figures.heat_maps(matrix, names), words)


def together(outputs: Tensor, labels: Tensor, seed: int) -> dict[str, dict[str, Any]]:
    """Return the figures alone, of all cases and of each class; the arguments are those of `failures`."""
    wrong, of = (~_right(outputs, labels)).numpy(), labels.numpy()
    groups = {"all cases": slice(None), **{f"class {c}": of == c for c in np.unique(of)}}
    return {name: _figures(wrong[:, cases], seed) for name, cases in groups.items()}


def _right(outputs: Tensor, labels: Tensor) -> Tensor:
    return torch.stack([correct(member, labels) for member in outputs]).bool()


def _figures(wrong: Bools, seed: int) -> dict[str, Any]:
    statistic = coincidence(wrong)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a draw in which nobody fails there is no ratio
        found = bootstrap(statistic, RESAMPLES, seed)
    k, failing = len(wrong), wrong.sum(0)
    known = bool(np.isfinite([found.score, found.low, found.high]).all())
    return {
        "cases": wrong.shape[1],
        "error": float(wrong.mean()),
        "together": float((failing * (failing - 1)).mean() / (k * (k - 1))),
        "over_chance": found.score if np.isfinite(found.score) else None,
        "ci95": [found.low, found.high] if known else None,
    }


def _row(name: str, row: dict[str, Any]) -> list[str]:
    ratio = "–" if row["over_chance"] is None else f"{row['over_chance']:.2f}"
    interval = "–" if row["ci95"] is None else "{:.2f} to {:.2f}".format(*row["ci95"])
    return [name, str(row["cases"]), f"{row['error']:.4f}", f"{row['together']:.4f}", ratio, interval]
