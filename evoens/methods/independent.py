"""How many independently trained networks an ensemble is worth: a deep ensemble's curve, and where it comes to lie.

The networks have the parent's architecture, data and settings, and other seeds (Lakshminarayanan et al. 2017). What is
compared is the likelihood after temperature scaling: the deep-ensemble equivalent of Ashukha et al. (2020).
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from functools import partial
from itertools import combinations, pairwise
from pathlib import Path
from random import Random
from typing import Any, Protocol, TypedDict, runtime_checkable

import torch
from torch import Tensor

from evoens.methods.base import Evolved, Fitted, Method
from evoens.parent import Parent
from evoens.problem import Evaluation, Split, SplitName, drive
from evoens.progress import OnProgress
from evoens.scoring import calibration
from evoens.tasks.data.images import Images

DRAWS = 12  # subsets of each size, at most


@runtime_checkable
class Retrainable(Protocol):
    """A problem of labelled inputs whose parent can be trained again, from other seeds."""

    def retrained(self, folder: Path, on_progress: OnProgress) -> list[Parent]:
        """Train as many networks as the settings ask for, in `folder`, or take up those that are there."""

    def answers(self, split: Split) -> Generator[Tensor, Tensor, Tensor]:
        """Yield the inputs of `split`, receive their probabilities, and return all of them, `(n, c)`."""

    def part(self, split: Split) -> Images:
        """Return the labelled inputs of a split."""


class Independent(Method):
    """Deep ensembles of the parent and networks trained as it was: no competitor, but what the ensemble is worth."""

    name = "independent"

    def fit(self, evolved: Evolved, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Method`; without such networks it has nothing to say."""
        problem = evolved.problem
        networks = problem.retrained(folder, on_progress) if isinstance(problem, Retrainable) else []
        return Fitted(details=partial(_details, evolved, [problem.parent, *networks])) if networks else Fitted()


def _details(
    evolved: Evolved, networks: Sequence[Parent], results: Mapping[str, Evaluation]
) -> dict[str, dict[str, Any]]:
    select, test = _labelled(evolved, networks, "select"), _labelled(evolved, networks, "test")
    points = curve(select, test, evolved.config.seed)
    nll = float(results["ensemble"].extra_metrics["calibrated_nll"].mean())
    return {"independent": {"curve": points, "worth": deep_ensemble_equivalent(points, nll)}}


def _labelled(evolved: Evolved, networks: Sequence[Parent], name: SplitName) -> tuple[Tensor, Tensor]:
    """The probabilities of all networks on a split, `(k, n, c)`, and its labels."""
    problem, split = evolved.problem, evolved.problem.split(name)
    assert isinstance(problem, Retrainable)
    outputs = [drive(problem.answers(split), network.predict) for network in networks]
    return torch.stack(outputs), problem.part(split).labels


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


def deep_ensemble_equivalent(points: Sequence[Point], nll: float) -> dict[str, Any]:
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
