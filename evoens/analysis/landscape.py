"""The part on the landscape: the loss around the parent, and on the plane through three networks (fig. 5.7)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from evoens.analysis import figures
from evoens.analysis.part import Finding, Kept, Part, Shown
from evoens.analysis.subject import Subject
from evoens.diversity.landscape import Plane, around, through
from evoens.errors import ShapeError
from evoens.network.tensors import load, tensors
from evoens.scoring.calibration import log_probabilities, nll
from evoens.settings.diversity import LandscapeSettings

MARGIN = 0.35  # how far the plane reaches beyond its networks, in their distance
NEAR = 9  # networks among which three are looked for that are not on one line
REACH = 1.0  # how far the random directions are followed: there the noise is as long as the weights
TITLES = {
    "through": ("The plane through three networks", "distance in the space of weights"),
    "around": ("Two random directions", "step, in lengths of each filter"),
}


class Landscape(Part):
    """The loss of networks that nobody trained, between and around those of the subject.

    Where inputs have no classes, the loss is the KL divergence from the first network.

    Args:
        subject: what is looked at: the parent, or else the first network, and the first two that are not on one line
            with it, as mirrored children are. Where there are no such two, there is no plane through them.
        settings: on how many inputs, and how fine.
    """

    name, title = "landscape", "The landscape the members lie in"

    def __init__(self, subject: Subject, settings: LandscapeSettings) -> None:
        self.subject = subject
        self.frames, self.labels = subject.pictured.examples(settings.inputs)
        self.module = copy.deepcopy(subject.all_modules[0])
        self.names, self.planes = _through(subject)
        self.planes["around"] = around(tensors(subject.all_modules[0]), subject.seed)
        self.axes = {name: _axes(plane, settings.points) for name, plane in self.planes.items()}
        self.rows = [(name, float(y)) for name, (_, ys) in self.axes.items() for y in ys]
        self.steps = len(self.rows)
        networks = len(self.planes) * settings.points**2
        self.cost = f"{networks} networks × {len(self.frames):,} inputs"

    def step(self, place: int) -> dict[str, Tensor]:
        """Measure the loss along one row of a plane."""
        name, y = self.rows[place]
        xs, _ = self.axes[name]
        return {"loss": torch.tensor([self._loss(self.planes[name].at(float(x), y)) for x in xs])}

    def _loss(self, weights: dict[str, Tensor]) -> float:
        load(self.module, weights)
        outputs = self.subject.probabilities(self.module, self.frames)
        if self.labels is not None:
            return float(nll(outputs, self.labels).mean())
        first = self._first
        kl = (first * (log_probabilities(first) - log_probabilities(outputs))).sum(-1).mean()
        return float(kl.clamp_min(0))  # rounding may put it a little below

    @property
    def _first(self) -> Tensor:
        return self.subject.probabilities(self.subject.all_modules[0], self.frames)

    def finish(self, kept: Sequence[Kept]) -> Finding:
        """Draw the planes."""
        unit = "NLL, nats" if self.labels is not None else "KL from the first network, nats"
        points = len(next(iter(self.axes.values()))[0])
        losses = torch.stack([row["loss"] for row in kept]).view(len(self.planes), points, points)
        panels = []
        for (name, plane), loss in zip(self.planes.items(), losses, strict=True):
            x, y = (axis.numpy() for axis in self.axes[name])
            panels.append(figures.Panel(*TITLES[name], x, y, loss.numpy(), plane.networks))
        text = [
            f"The loss of networks that were never trained, on {len(self.frames):,} inputs. Along random directions 1 "
            "is a step as long as each filter itself (Li et al. 2018)."
        ]
        if "through" in self.planes:
            text.append(
                "On the plane through three networks, distances are lengths in the space of all weights (Garipov et "
                "al. 2018). Networks in one basin have no ridge between them."
            )
        found = {
            name: {"x": axes[0].tolist(), "y": axes[1].tolist(), "loss": loss.tolist(), "networks": plane.networks}
            for (name, plane), axes, loss in zip(self.planes.items(), self.axes.values(), losses, strict=True)
        }
        words = "Contours of the loss, with the networks marked."
        figure = figures.landscapes(panels, unit, self.names)
        return Finding(text, {"unit": unit, **found}, pictures=[Shown("landscape.svg", figure, words)])


def _through(subject: Subject) -> tuple[tuple[str, ...], dict[str, Plane]]:
    """The names of the first network and two more, and the plane through them, if there is one."""
    weights = [tensors(module) for module in subject.all_modules[:NEAR]]
    for i, j in combinations(range(1, len(weights)), 2):
        try:
            plane = through(weights[0], weights[i], weights[j])
        except ShapeError:
            continue
        return tuple(subject.all_names[k] for k in (0, i, j)), {"through": plane}
    return subject.all_names[:1], {}


def _axes(plane: Plane, points: int) -> tuple[Tensor, Tensor]:
    """The coordinates of a plane's grid."""
    if len(plane.networks) == 1:
        line = torch.linspace(-REACH, REACH, points)
        return line, line
    places = torch.tensor(plane.networks)
    low, high = places.amin(0), places.amax(0)
    margin = MARGIN * (high - low).max()
    x, y = (torch.linspace(float(a - margin), float(b + margin), points) for a, b in zip(low, high, strict=True))
    return x, y
