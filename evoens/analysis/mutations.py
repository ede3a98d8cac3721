"""The part on mutations: what noise of some strength and density does to children and ensembles (fig. 4.2, 4.3)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import product
from random import Random
from typing import Any

import torch
from torch import Tensor

from evoens import noise
from evoens.analysis import mutation_figures as figures
from evoens.analysis.part import Finding, Kept, Part, Shown
from evoens.analysis.subject import Subject
from evoens.diversity.outputs import pairwise_kl
from evoens.genome import Mask
from evoens.network.tensors import load, tensors
from evoens.report.parts import Table
from evoens.scoring.calibration import correct
from evoens.scoring.combine import combine
from evoens.settings.diversity import MutationSettings

GRID = 64  # points either way at which a boundary in the plane is drawn


class Mutations(Part):
    """Gaussian noise on a random share of the weights, from faint to strong and from dense to sparse.

    Every cell of the grid has the same draws, so that it differs from its neighbours by σ and density alone. Where an
    input is a point of the plane, the boundaries between classes are drawn.

    Args:
        subject: what is looked at: its parent, or else its first network, is what is mutated.
        settings: the grid, the children of each cell, and on how many inputs they are measured.
    """

    name, title = "mutations", "What noise does to the network"

    def __init__(self, subject: Subject, settings: MutationSettings) -> None:
        self.subject, self.settings = subject, settings
        self.frames, self.labels = subject.pictured.examples(settings.inputs)
        self.module = copy.deepcopy(subject.all_modules[0])
        self.weights = {name: weight.clone() for name, weight in tensors(self.module).items()}
        self.cells = list(product(settings.densities, settings.sigmas))
        self.flat = self.frames[0].numel() == 2
        self.steps = len(self.cells)
        networks = self.steps * settings.children
        self.cost = f"{networks} networks × {len(self.frames):,} inputs"

    def step(self, place: int) -> dict[str, Tensor]:
        """Measure the children of one cell."""
        density, sigma = self.cells[place]
        own = self._outputs(self.weights, self.frames)
        children = [self._child(number, density, sigma) for number in range(self.settings.children)]
        outputs = torch.stack([self._outputs(child, self.frames) for child in children])
        found = {"kl": torch.stack([pairwise_kl(own[None], child[None])[0, 0] for child in outputs])}
        if self.labels is not None:
            found["accuracy"] = torch.stack([correct(child, self.labels).mean() for child in outputs])
            for rule in ("mean", "majority-vote"):
                found[rule] = correct(combine(outputs, rule), self.labels).mean()
        if self.flat:
            found["boundary"] = self._outputs(children[0], plane(self.frames.shape[1:]))
        return found

    def _child(self, number: int, density: float, sigma: float) -> dict[str, Tensor]:
        """The weights of a child; its draws hang on its number and the subject's seed alone."""
        seed = Random(f"{self.subject.seed}:mutation:{number}").getrandbits(63)
        mask = Mask(seed, density=density)
        child = dict(self.weights)
        for name in self.subject.problem.parent.perturbed:
            weight = self.weights[name]
            moved = weight + sigma * noise.normals(seed, name, weight.shape, weight.device)
            child[name] = torch.where(noise.keep(mask, name, weight.shape, weight.device), moved, weight)
        return child

    def _outputs(self, weights: dict[str, Tensor], frames: Tensor) -> Tensor:
        load(self.module, weights)
        return self.subject.probabilities(self.module, frames)

    def finish(self, kept: Sequence[Kept]) -> Finding:
        """Lay out the grid."""
        rows = [
            {"density": density, "sigma": sigma, **_row(found)}
            for (density, sigma), found in zip(self.cells, kept, strict=True)
        ]
        text = [
            f"{self.settings.children} children for each strength σ of the noise and each share of the weights that it "
            f"falls on (the density), on {len(self.frames):,} inputs: no search, no selection, no training."
        ]
        shown = [Shown("mutations.svg", figures.ablation(rows), "Divergence and accuracy over the strength of noise.")]
        if self.flat:
            maps = [found["boundary"].numpy() for found in kept]
            points = self.frames.flatten(1).numpy(), None if self.labels is None else self.labels.numpy()
            picture = figures.boundaries(maps, self.cells, *points)
            words = "The first child's decision boundary for each strength and density, with the inputs."
            shown.append(Shown("mutations-boundaries.png", picture, words))
        return Finding(text, {"inputs": len(self.frames), "cells": rows}, [_table(rows)], shown)


def plane(shape: Sequence[int]) -> Tensor:
    """Return a grid over all points of the plane, as inputs of two bytes: `(grid², *shape)` uint8, row by row of y."""
    line = torch.linspace(0, 255, GRID)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], -1).round().byte().reshape(-1, *shape)


def _row(found: Kept) -> dict[str, Any]:
    means = {name: float(found[name].mean()) for name in ("kl", "accuracy") if name in found}
    return means | {rule: float(found[rule]) for rule in ("mean", "majority-vote") if rule in found}


def _table(rows: Sequence[dict[str, Any]]) -> Table:
    names = {"kl": "KL, nats", "accuracy": "A child", "mean": "Ensemble, mean", "majority-vote": "Ensemble, vote"}
    shown = [name for name in names if name in rows[0]]
    cells = [[f"{row['density']:g}", f"{row['sigma']:g}", *(f"{row[n]:.4f}" for n in shown)] for row in rows]
    return Table(cells, ["Density", "σ", *(names[name] for name in shown)])
