"""The part on activations: CKA of every layer of the parent and of the members with every layer of the others."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evoens.analysis import figures
from evoens.analysis.part import Finding, Kept, Part, Shown
from evoens.analysis.subject import BATCH, Subject
from evoens.diversity.activations import FEWEST, cka, hsic, innermost
from evoens.diversity.outputs import off_diagonal_mean
from evoens.report.parts import Table
from evoens.settings.diversity import ActivationSettings


class Activations(Part):
    """How alike members are inside, layer by layer (DRE eq. 6).

    Args:
        subject: what is looked at.
        settings: on how many inputs, and in which layers.

    Raises:
        SpecError: there is no such layer.
    """

    name, title = "activations", "What the members compute"

    def __init__(self, subject: Subject, settings: ActivationSettings) -> None:
        self.subject = subject
        frames, _ = subject.pictured.examples(settings.inputs)
        self.batches = [part for part in torch.split(frames, BATCH) if len(part) >= FEWEST]
        first = subject.inputs(frames[:FEWEST])
        self.layers = settings.layers or tuple(innermost(subject.modules[0], first))
        hsic([subject.modules[0]], self.layers, first)  # a layer that is not there is found before work begins
        self.steps, networks = len(self.batches), len(subject.all_modules)
        self.cost = f"{networks} networks × {len(frames):,} inputs, {len(self.layers)} layers of each"

    def step(self, place: int) -> dict[str, Tensor]:
        """Compare all layers of all networks on one batch."""
        inputs = self.subject.inputs(self.batches[place])
        return {"hsic": hsic(self.subject.all_modules, self.layers, inputs).cpu()}

    def finish(self, kept: Sequence[Kept]) -> Finding:
        """Average over batches, and draw the maps of two pairs."""
        found = cka(torch.stack([row["hsic"] for row in kept]).sum(0))
        own = len(found) - len(self.subject.names)  # the parent is no member
        between = [found[own:, i, own:, i] for i in range(len(self.layers))]
        rows = [
            {"layer": name, "between_members": off_diagonal_mean(pairs)}
            for name, pairs in zip(self.layers, between, strict=True)
        ]
        if own:
            for i, row in enumerate(rows):
                row["to_parent"] = float(found[0, i, own:, i].mean())
        text = [
            "Linear CKA is 1 for layers that compute the same up to a rotation and a scale, and near 0 for layers that "
            f"have nothing in common. Means over pairs, on {sum(map(len, self.batches)):,} inputs."
        ]
        pairs = [(own, own + 1)] + ([(0, 1)] if own else [])
        maps = {f"{self.subject.all_names[i]} and {self.subject.all_names[j]}": found[i, :, j] for i, j in pairs}
        words = "Every layer of one network against every layer of another, brighter where they are alike."
        figure = figures.layer_maps({name: m.numpy() for name, m in maps.items()}, self.layers)
        head = ["Layer", "CKA between members", *(["CKA with the parent"] if own else [])]
        cells = [[str(row["layer"]), *(f"{v:.4f}" for k, v in row.items() if k != "layer")] for row in rows]
        return Finding(text, {"layers": rows}, [Table(cells, head)], [Shown("activations.svg", figure, words)])
