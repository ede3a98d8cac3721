"""When the comparison has seen enough: a fixed-width sequential confidence interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evoens.problem import Split

Stats = Mapping[str, Any]
"""A score of report.json: `{"score", "ci95": [low, high], "n"}`."""


def blocks(split: Split, size: int | None) -> list[Split]:
    """Return a split in blocks of `size` cases, the last as many as are left; None: in one."""
    size = size or split.count
    return [split.part(first, size) for first in range(0, split.count, size)]


def half_width(difference: Stats) -> float:
    """Return half the width of a 95 % interval."""
    low, high = difference["ci95"]
    return float(high - low) / 2


def narrow(difference: Stats, precision: float | None) -> bool:
    """Whether a paired difference is known as closely as `report.precision` asks; never, where it asks for nothing.

    This is the stopping rule of a fixed-width sequential interval (Chow & Robbins 1965; Glynn & Whitt 1992): cases are
    measured block by block until 2 × `precision` holds the interval. It hangs on the width alone, so that looking
    again and again favours neither side, which stopping at the first interval without zero would. Its price is that
    few cases of little spread stop it early: of heavy-tailed differences as bigfish has them (standard deviation 14;
    blocks of 100, at most 400, precision 1.25 to 2.5) the interval at the stop holds the truth in 92 to 95 of 100
    comparisons, and in 91 where they are very skewed; that of all 400 in 93 to 95 (simulated, 1000 comparisons each).
    """
    return precision is not None and half_width(difference) <= precision


def stopping(difference: Stats, of: int, block: int | None, precision: float | None) -> dict[str, Any] | None:
    """Return what report.json says of how many cases were measured, and why no more; None without a precision.

    Args:
        difference: the ensemble's from its parent, on the cases that were measured.
        of: how many cases there are.
        block: how many are measured at a time; None: all.
        precision: `report.precision`.
    """
    if precision is None:
        return None
    return {
        "measured": difference["n"],
        "of": of,
        "block": min(block or of, of),
        "half_width": half_width(difference),
        "precision": precision,
        "reason": "precision" if narrow(difference, precision) else "spent",
    }
