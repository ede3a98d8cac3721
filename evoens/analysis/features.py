"""The part on features: what the same units answer to in each network, found by optimisation (fig. 7.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from evoens.analysis.part import Finding, Kept, Part, Shown
from evoens.analysis.subject import Subject
from evoens.diversity.activations import innermost, recorded
from evoens.diversity.features import Member, Unit, activation_grid, visualise
from evoens.diversity.hashes import hamming, hash_bits
from evoens.diversity.pictures import newest, png, sheet
from evoens.diversity.reading import layer_of, layers, read
from evoens.errors import ShapeError
from evoens.problem import evenly
from evoens.report.parts import Table
from evoens.scoring.metrics import standard_error
from evoens.settings.diversity import FeatureSettings

WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
EXAMPLES = 64  # inputs by which units are told from dead ones
SHOWN = 8  # units of the picture
GRIDS, SIDE = 3, 4  # networks whose activation grids are shown, and patches either way
LARGE = 384  # pixels: side of a grid on the page


class Features(Part):
    """Feature visualisations of the same units in every network, and how far their hashes are apart.

    Args:
        subject: what is looked at.
        settings: which layer, how many units, how many steps.

    Raises:
        SpecError: a network has no such layer. ShapeError: the layer has no units.
    """

    name, title = "features", "What the members have learnt to see"

    def __init__(self, subject: Subject, settings: FeatureSettings) -> None:
        self.subject, self.settings = subject, settings
        frames, _ = subject.pictured.examples(EXAMPLES)
        self.frame, (c, h, w) = frames[0], frames.shape[1:]
        self.shape = (int(c), int(h), int(w))
        module, self.inputs = subject.modules[0], subject.inputs(frames)
        self.layer = settings.layer or _telling(subject.modules[:2], self.inputs)
        there = layers(module, self.inputs)
        if self.layer in dict(module.named_modules()) and self.layer not in there:
            raise ShapeError(f'layer "{self.layer}": expected an output (n, units, …), found none')
        self.units = [Unit(self.layer, place, settings.sign) for place in self._places(settings.units)]
        self.way = "most" if settings.sign == 1 else "least"
        self.networks = len(subject.all_names)
        self.grids = min(GRIDS, self.networks) if len(there[self.layer]) == 3 else 0
        self.steps = 2 * self.networks + self.grids
        pictures = 2 * self.networks * len(self.units) + self.grids * SIDE**2
        self.cost = f"{pictures} pictures × {settings.steps} steps of optimisation, layer {self.layer}"

    def _places(self, count: int) -> list[int]:
        """Units of the first network, evenly spread over those that some input raises above zero: the rest are dead."""
        with torch.inference_mode():
            seen = read(self.subject.all_modules[0], self.layer, self.inputs)
        awake = (seen.flatten(2) if seen.dim() > 2 else seen[..., None]).amax((0, 2)) > 0
        places = awake.nonzero().flatten() if awake.any() else torch.arange(len(awake))
        found: list[int] = places[evenly(len(places), count)].tolist()
        return found

    def step(self, place: int) -> dict[str, Tensor]:
        """Find all of a network's pictures from one seed, or its activation grid of one input."""
        steps, grid = self.settings.steps, place - 2 * self.networks
        module = self.subject.all_modules[place // 2 if grid < 0 else grid]
        member = Member(module, self.subject.pictured.inputs_of)
        if grid < 0:
            seed = 2 * self.subject.seed + place % 2
            found = visualise([member], self.units, self.shape, seed=seed, steps=steps)[0]
        else:
            found = activation_grid(member, self.layer, self.frame, seed=self.subject.seed, side=SIDE, steps=steps)
        return {"pictures": torch.from_numpy(found)}

    def finish(self, kept: Sequence[Kept]) -> Finding:
        """Compare the members' pictures, unit by unit, with the floor of one member from two seeds."""
        pictures = torch.stack([row["pictures"] for row in kept[: 2 * self.networks]])
        both = pictures.view(self.networks, 2, *pictures.shape[1:])
        own = both[self.networks - len(self.subject.names) :]  # the parent is no member
        bits = hash_bits(own.numpy())  # (k, 2, n, bits) by hash
        rows = {name: _distances(found[:, 0], found[:, 1]) for name, found in bits.items()}
        figures = {"layer": self.layer, "units": [unit.index for unit in self.units], "distances": rows}
        shown = [self._sheet(both)]
        if self.grids:
            shown.append(self._grids([row["pictures"] for row in kept[2 * self.networks :]]))
        return Finding(self._text(), figures, [_table(rows)], shown)

    def _text(self) -> list[str]:
        return [
            f"Pictures to which {len(self.units)} units of {self.layer} answer {self.way}, found by "
            f"{self.settings.steps} steps of Adam in decorrelated Fourier space under small motions (Olah et al. "
            "2017). Distances are shares of the hashes' bits, means over units with their standard errors. From the "
            "same first picture, two members differ by what they are and by how the optimiser departs; from different "
            "first pictures the null floor, one member from two of them, is the measure of what that alone does."
        ]

    def _sheet(self, both: Tensor) -> Shown:
        """The first units, a row for each network; the last network once more, from the other seed."""
        names = self.subject.all_names
        rows = [(name, found[0, :SHOWN].numpy()) for name, found in zip(names, both, strict=True)]
        again = (f"{names[-1]}\nother seed", both[-1, 1, :SHOWN].numpy())
        units = ", ".join(str(unit.index) for unit in self.units[:SHOWN])
        words = f"A row for each network, a column for each unit: the picture it answers to {self.way}."
        return Shown("features.png", png(sheet([*rows, again], f"{self.layer}, units {units}")), words)

    def _grids(self, grids: Sequence[Tensor]) -> Shown:
        """What each of the first networks sees in the patches of one input."""
        frame = newest(self.frame[None])[0]
        named = zip(self.subject.all_names, grids, strict=False)
        rows = [(name, [frame, tiled(grid).numpy()]) for name, grid in named]
        words = "One input, and beside it what a network sees in its patches: the pictures that drive the layer there."
        return Shown("features-grids.png", png(sheet(rows, f"{self.layer}, patch by patch", LARGE)), words)


def tiled(grid: Tensor) -> Tensor:
    """Put pictures `(rows, columns, h, w, 3)` side by side: `(rows · h, columns · w, 3)`."""
    rows, columns, h, w, colours = grid.shape
    return grid.permute(0, 2, 1, 3, 4).reshape(rows * h, columns * w, colours)


def _telling(modules: Sequence[nn.Module], inputs: Tensor) -> str:
    """The last convolution; where two members share it, and all before it, the first layer that they do not share.

    Of a network without convolutions it is the last linear layer but one, which is hidden.
    """
    first, second = modules[0], modules[1]
    names = [name for name in innermost(first, inputs) if isinstance(layer_of(first, name), WEIGHTED)]
    convolutions = [name for name in names if not isinstance(layer_of(first, name), nn.Linear)]
    usual = (convolutions[-1:] or names[-2:])[0]
    with torch.inference_mode(), recorded(first, names) as one, recorded(second, names) as other:
        first(inputs.clone()), second(inputs.clone())
        apart = [name for name in names if not torch.equal(one[name], other[name])]
    return usual if usual in apart or not apart else apart[0]


def _distances(a: Tensor, b: Tensor) -> dict[str, Any]:
    """Distances by unit of bits `(k, n, bits)` from two seeds, as means over units and their standard errors."""
    k = len(a)
    pairs = ~torch.eye(k, dtype=torch.bool)
    first = a[:, None].expand(k, k, -1, -1)
    alike, apart = (hamming(first, other[None].expand(k, k, -1, -1))[pairs].mean(0) for other in (a, b))
    floor = hamming(a, b).mean(0)
    return {
        name: {"value": float(rows.mean()), "error": standard_error(rows)}
        for name, rows in (("same_seed", alike), ("other_seed", apart), ("floor", floor))
    }


def _table(rows: dict[str, dict[str, Any]]) -> Table:
    def cell(row: dict[str, Any]) -> str:
        return f"{row['value']:.3f}" + ("" if row["error"] is None else f" ± {row['error']:.3f}")

    head = ["Hash", "Members, same first picture", "Members, other first picture", "Null floor"]
    return Table([[name.capitalize(), *map(cell, row.values())] for name, row in rows.items()], head)
