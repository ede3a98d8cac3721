"""How many independently trained networks an ensemble is worth: a deep ensemble's curve, and where it comes to lie.

The networks have the parent's architecture, data and settings, and other seeds (Lakshminarayanan et al. 2017). What is
compared is the likelihood after temperature scaling: the deep-ensemble equivalent of Ashukha et al. (2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, pairwise
from random import Random
from typing import Any, TypedDict

import torch
from torch import Tensor

from evoens.scoring import calibration

DRAWS = 12  # subsets of each size, at most


class Point(TypedDict):
    """A deep ensemble of so many networks: the means over subsets, with the temperature of each fitted on select."""

    networks: int
    accuracy: float
    nll: float
    ece: float


def curve(select: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], seed: int) -> list[Point]:
    """Return a point for each number of networks.

    Args:
        select: probabilities of all networks, `(k, n, c)`, and the labels `(n,)`.
        test: the same of the test split.
        seed: draws the subsets, where there are many.
    """
    return [_point(select, test, subsets) for subsets in _subsets(len(select[0]), seed)]


def _subsets(k: int, seed: int) -> list[list[tuple[int, ...]]]:
    rng = Random(f"{seed}:independent")
    return [
        rng.sample(every, min(len(every), DRAWS)) for m in range(k) if (every := list(combinations(range(k), m + 1)))
    ]


def _point(select: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], subsets: Sequence[Sequence[int]]) -> Point:
    figures = torch.tensor([_figures(select, test, list(subset)) for subset in subsets], dtype=torch.float64)
    accuracy, nll, ece = figures.mean(0).tolist()
    return Point(networks=len(subsets[0]), accuracy=accuracy, nll=nll, ece=ece)


def _figures(
    select: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor], members: list[int]
) -> tuple[float, float, float]:
    temperature = calibration.temperature(select[0][members].mean(0), select[1])
    outputs, labels = calibration.tempered(test[0][members].mean(0), temperature), test[1]
    right = calibration.correct(outputs, labels)
    ece = calibration.ece(calibration.confidence(outputs), right)
    return float(right.mean()), float(calibration.nll(outputs, labels).mean()), ece


def worth(points: Sequence[Point], nll: float) -> dict[str, Any]:
    """Return how many networks have this NLL, on straight lines between the points.

    Returns:
        `networks`, and whether that is only a bound: `at most` where even one network is better, `at least` where not
        even all of them are as good, else `about`.
    """
    first, last = points[0], points[-1]
    if nll > first["nll"]:
        return {"networks": 1.0, "bound": "at most"}
    for a, b in pairwise(points):
        if b["nll"] <= nll <= a["nll"]:
            share = (a["nll"] - nll) / (a["nll"] - b["nll"]) if a["nll"] > b["nll"] else 0.0
            return {"networks": round(a["networks"] + share, 2), "bound": "about"}
    return {"networks": float(last["networks"]), "bound": "at least"}
