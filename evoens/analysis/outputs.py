"""The part on outputs: how members differ in what they answer, and in which cases they get right."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from evoens.analysis import figures
from evoens.analysis.failures import failures
from evoens.analysis.part import Finding, Kept, Part, Shown
from evoens.analysis.subject import BATCH, Subject
from evoens.diversity import correctness as right
from evoens.diversity.measures import MEASURES, Measure, of_outputs
from evoens.diversity.outputs import off_diagonal_mean, pairwise_kl
from evoens.diversity.saliency import SIGMA, noisy_copies
from evoens.diversity.spread import decompose, equitability
from evoens.report.parts import Table
from evoens.scoring.calibration import correct
from evoens.scoring.combine import mean
from evoens.settings.diversity import OutputSettings

VIEWS = ("as_they_are", "noise_a", "noise_b")
ORDERS = 32  # in which members are put together for the curve of the ensemble's size
MANY = 100  # members; of more the file holds no pairs, only their means
SIZES = 24  # of that curve, at most


@dataclass(frozen=True, slots=True)
class Pairwise:
    """A measure of which cases two members get right: what it is called, its unit, and what computes it."""

    label: str
    unit: str
    of: Callable[..., Tensor]


RIGHT: MappingProxyType[str, Pairwise] = MappingProxyType(
    {
        "correctness_disagreement": Pairwise("One is right", "share of inputs", right.correctness_disagreement),
        "double_fault": Pairwise("None is right", "share of inputs", right.double_fault),
        "q_statistic": Pairwise("Q-statistic", "0: independent, 1: alike", right.q_statistic),
        "correctness_correlation": Pairwise("Correlation ρ", "0: independent, 1: alike", right.correctness_correlation),
    }
)
"""Measures of which cases two members get right."""

MAPS = ("disagreement", "kl", "correlation", "q_statistic")


class Outputs(Part):
    """How far members differ in their probabilities, beside what faint noise on the inputs does to one of them.

    Args:
        subject: what is looked at.
        settings: on how many inputs.
    """

    name, title = "outputs", "What the members answer"

    def __init__(self, subject: Subject, settings: OutputSettings) -> None:
        self.subject = subject
        self.frames, self.labels = subject.pictured.examples(settings.inputs)
        self.steps = len(subject.all_names)
        self.cost = f"{self.steps} networks × {len(self.frames):,} inputs × 3 passes"

    def step(self, place: int) -> dict[str, Tensor]:
        """Answer all inputs with one network: as they are, and twice with faint noise."""
        module, rows = self.subject.all_modules[place], list[list[Tensor]]()
        for number, frames in enumerate(torch.split(self.frames, BATCH)):  # large images would not fit as floats
            seeds = [2 * (self.subject.seed + number) + draw for draw in range(2)]
            noisy = [noisy_copies(frames, 1, SIGMA, seed)[0] for seed in seeds]
            rows.append([self.subject.probabilities(module, some) for some in (frames, *noisy)])
        return {name: torch.cat(parts) for name, parts in zip(VIEWS, zip(*rows, strict=True), strict=True)}

    def finish(self, kept: Sequence[Kept]) -> Finding:
        """Compare the members pair by pair, and all together."""
        own = kept[len(kept) - len(self.subject.names) :]  # the parent is no member
        clean, a, b = (torch.stack([row[name] for row in own]) for name in VIEWS)
        matrices, twice = self._matrices(clean, clean), self._matrices(a, b)
        found = {
            "inputs": len(self.frames),
            "members": list(self.subject.names),
            "matrices": {name: matrix.tolist() for name, matrix in matrices.items()} if len(own) <= MANY else {},
            "pairs": {
                name: {"value": off_diagonal_mean(matrix), "floor": float(twice[name].diagonal().mean())}
                for name, matrix in matrices.items()
            },
            "together": self._together(clean),
        }
        tables, pictures = self._tables(found), self._pictures(found, matrices, clean, kept)
        if self.labels is not None:
            found["failures"], table, picture = failures(clean, self.labels, self.subject.names, self.subject.seed)
            tables, pictures = [*tables, table], [*pictures, picture]
        return Finding(self._text(), found, tables, pictures)

    def _matrices(self, a: Tensor, b: Tensor) -> dict[str, Tensor]:
        """Every measure of every i on one side and every j on the other: `(k, k)` by name."""
        found = {measure.name: measure.pairs(a, b) for measure in of_outputs()}
        if self.labels is not None:
            hits = [torch.stack([correct(p, self.labels) for p in side]).bool() for side in (a, b)]
            found |= {name: measure.of(right.shares(*hits)) for name, measure in RIGHT.items()}
        return found

    def _together(self, clean: Tensor) -> dict[str, Any]:
        votes = equitability(clean)
        if self.labels is None:
            return {"equitability": float(votes.mean())}
        hit = correct(mean(clean), self.labels).bool()
        parts = decompose(clean, self.labels)
        return {
            "equitability_right": float(votes[hit].mean()) if hit.any() else None,
            "equitability_wrong": float(votes[~hit].mean()) if (~hit).any() else None,
            "squared_bias": parts.squared_bias,
            "variance": parts.variance,
            "covariance": parts.covariance,
            "brier": parts.error,
        }

    def _text(self) -> list[str]:
        floor = (
            f"Means over pairs of members, on {len(self.frames):,} inputs. The null floor is what the same measure "
            f"says of one member under two draws of faint noise on the inputs (σ = {SIGMA:g} of 255 grey levels): what "
            "does not stand clear of it is no diversity."
        )
        if self.labels is None:
            return [floor]
        return [
            floor,
            "Equitability is the entropy of the members’ votes over its greatest: 0 where all agree. The Brier score "
            "of the ensemble is squared bias + variance / k + (1 − 1/k) × covariance: diversity lowers the last.",
        ]

    def _tables(self, found: dict[str, Any]) -> list[Table]:
        known: dict[str, Measure | Pairwise] = {**MEASURES, **RIGHT}
        rows = [
            [known[name].label, f"{row['value']:.4f}", f"{row['floor']:.4f}", known[name].unit]
            for name, row in found["pairs"].items()
        ]
        names = {
            "equitability": "Equitability of votes",
            "equitability_right": "Equitability of votes where the ensemble is right",
            "equitability_wrong": "Equitability of votes where it is wrong",
            "squared_bias": "Squared bias",
            "variance": "Variance of a member",
            "covariance": "Covariance of two members",
            "brier": "Brier score of the ensemble",
        }
        together = [[names[k], "–" if v is None else f"{v:.4f}"] for k, v in found["together"].items()]
        pairs = Table(rows, ["Of two members", "Mean over pairs", "Null floor", "Unit"])
        return [pairs, Table(together, ["Of all members", "Value"])]

    def _pictures(
        self, found: dict[str, Any], matrices: Mapping[str, Tensor], clean: Tensor, kept: Sequence[Kept]
    ) -> list[Shown]:
        known: dict[str, Measure | Pairwise] = {**MEASURES, **RIGHT}
        maps = {f"{known[n].label}, {known[n].unit}": matrices[n].numpy() for n in MAPS if n in matrices}
        words = "A square for each pair of members, brighter where the measure is larger."
        shown = [Shown("outputs-pairs.svg", figures.heat_maps(maps, self.subject.names), words)]
        if self.labels is not None:
            curve = size_curve(clean, self.labels, self.subject.seed)
            found["size_curve"] = curve
            of = "the parent" if self.subject.parent else "the members’ mean"
            points = self._points(clean, kept[0]["as_they_are"] if self.subject.parent else mean(clean))
            found["members_alone"] = points
            words = f"Accuracy of ensembles over their size; and of each member over its divergence from {of}."
            shown.append(Shown("outputs-size.svg", figures.size_and_divergence(curve, points, of), words))
        return shown

    def _points(self, clean: Tensor, middle: Tensor) -> list[dict[str, Any]]:
        """How far each member is from the middle, and what it reaches alone."""
        assert self.labels is not None
        return [
            {
                "name": name,
                "kl": float(pairwise_kl(middle[None], p[None])),
                "accuracy": float(correct(p, self.labels).mean()),
            }
            for name, p in zip(self.subject.names, clean, strict=True)
        ]


def size_curve(outputs: Tensor, labels: Tensor, seed: int) -> list[dict[str, float]]:
    """Accuracy of the mean of m of the k members, for m from 1 to k (dissertation fig. 5.5).

    Members are put together one after another, in 32 random orders drawn by `seed`; `low` and `high` are the worst and
    the best of a size. Of more than 24 members not every size is measured.

    outputs: probabilities `(k, n, c)`.
    """
    draw, k = Random(f"sizes:{seed}"), len(outputs)
    sizes = sorted({round(size) for size in np.geomspace(1, k, SIZES)} if k > SIZES else range(1, k + 1))
    reached: dict[int, list[float]] = {size: [] for size in sizes}
    for _ in range(ORDERS):
        order, total, before = draw.sample(range(k), k), torch.zeros_like(outputs[0]), 0
        for size in sizes:
            total, before = total + outputs[order[before:size]].sum(0), size
            reached[size].append(float(correct(total, labels).mean()))
    return [
        {"size": size, "accuracy": sum(own) / len(own), "low": min(own), "high": max(own)}
        for size, own in reached.items()
    ]
