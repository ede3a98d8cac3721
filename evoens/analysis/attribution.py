"""The part on attribution: what the members look at, over many inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from evoens.analysis.part import Finding, Kept, Part, Shown
from evoens.analysis.subject import Subject
from evoens.diversity.attribution import METHODS, PATH, attribute
from evoens.diversity.measures import MEASURES
from evoens.diversity.outputs import off_diagonal_mean
from evoens.diversity.pictured import logits_fn
from evoens.diversity.pictures import png, saliency_strip
from evoens.diversity.saliency import COPIES, SIGMA, greedy_actions, noisy_copies
from evoens.problem import evenly
from evoens.report.parts import Table
from evoens.scoring.metrics import standard_error
from evoens.settings.diversity import AttributionSettings

CHUNK = 1 << 23  # scores held at once: networks × inputs × pixels
SHOWN = 8  # inputs of the picture
PASSES = {"saliency": 2, "smoothgrad": 2 * COPIES, "integrated-gradients": 2 * PATH}


class Attribution(Part):
    """Attribution diversity (DRE eq. 7), and the distances between the members' maps (fig. 7.4).

    Args:
        subject: what is looked at.
        settings: in how many inputs, and by which method.
    """

    name, title = "attribution", "What the members look at, over many inputs"

    def __init__(self, subject: Subject, settings: AttributionSettings) -> None:
        self.subject, self.settings = subject, settings
        self.frames, _ = subject.pictured.examples(settings.inputs)
        members = len(subject.names)
        self.chunks = torch.split(self.frames, max(1, CHUNK // (members * self.frames[0].numel())))
        self.steps = len(self.chunks)
        passes = PASSES[settings.method]
        self.cost = f"{members} members × {len(self.frames):,} inputs × {passes} gradients ({settings.method})"

    def step(self, place: int) -> dict[str, Tensor]:
        """Compare the members on one chunk of the inputs."""
        lookers = (logits_fn(self.subject.pictured, module) for module in self.subject.modules)
        chunk = self.chunks[place].to(self.subject.device)
        found = attribute(lookers, chunk, METHODS[self.settings.method], self.subject.seed + place)
        bits = {f"bits/{name}": distances * len(chunk) for name, distances in found.bits.items()}
        return {"rmse": found.rmse, "variance": found.variance, "floor": found.floor, **bits}

    def finish(self, kept: Sequence[Kept]) -> Finding:
        """Average over all inputs."""
        n = len(self.frames)
        rmse = torch.cat([row["rmse"] for row in kept])
        variance, floor = (torch.cat([row[name] for row in kept]) for name in ("variance", "floor"))
        distances = {"rmse": rmse.mean(0)}
        for name in (key for key in kept[0] if key.startswith("bits/")):
            distances[name.removeprefix("bits/")] = torch.stack([row[name] for row in kept]).sum(0) / n
        found = {
            "method": self.settings.method,
            "inputs": n,
            "diversity": {
                "value": float(variance.mean()),
                "floor": float(floor.mean()),
                "error": standard_error(variance),
            },
            "distances": {
                name: {"value": off_diagonal_mean(pairs), "floor": float(pairs.diagonal().mean())}
                for name, pairs in distances.items()
            },
        }
        return Finding(self._text(), found, [_table(found)], [self._strip()])

    def _text(self) -> list[str]:
        return [
            f"Each member’s likeliest answer to {len(self.frames):,} inputs, attributed to their pixels by "
            f"{self.settings.method}. The attribution diversity is the members’ variance at each pixel and channel, "
            "summed (DRE eq. 7); distances are between maps of the absolute values. The null floor is one member under "
            f"two draws of faint noise (σ = {SIGMA:g} of 255 grey levels)."
        ]

    def _strip(self) -> Shown:
        """The networks' maps of a few inputs, under one another."""
        frames, rows = self.frames[evenly(len(self.frames), SHOWN)], []
        copies = noisy_copies(frames.to(self.subject.device), COPIES, SIGMA, self.subject.seed)
        for module in self.subject.all_modules:
            look = logits_fn(self.subject.pictured, module)
            scores = METHODS[self.settings.method](look, copies, greedy_actions(look, frames.to(self.subject.device)))
            rows.append(scores.cpu().abs().sum(1))
        picture = saliency_strip(frames, torch.stack(rows), list(self.subject.all_names))
        words = "A row of inputs, and below it what each network looks at in them."
        return Shown("attribution.png", png(picture), words)


def _sum(own: dict[str, Any]) -> str:
    return f"{own['value']:.4g}" + ("" if own["error"] is None else f" ± {own['error']:.2g}")


def _table(found: dict[str, Any]) -> Table:
    own = found["diversity"]
    rows = [["Attribution diversity A (DRE eq. 7)", _sum(own), f"{own['floor']:.4g}"]]
    for name, row in found["distances"].items():
        label = "RMSE of maps, 0 to 1" if name == "rmse" else f"{MEASURES[name].label}, {MEASURES[name].unit}"
        rows.append([label, f"{row['value']:.4f}", f"{row['floor']:.4f}"])
    return Table(rows, ["Distance", "Between members", "Null floor"])
