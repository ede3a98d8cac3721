"""Watch diversity while evolving: how far members differ, beside how far one member differs from itself."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evoens.diversity import measures
from evoens.diversity.hashes import hash_bits
from evoens.diversity.outputs import off_diagonal_mean
from evoens.diversity.pictures import saliency_strip
from evoens.diversity.saliency import COPIES, SIGMA, View, coloured, greedy_actions, noisy_copies, view
from evoens.errors import ShapeError
from evoens.parent import LogitsFn

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Measured:
    """A distance between members (`value`), and what the noise of measuring alone gives for one member (`floor`)."""

    value: float
    floor: float


@dataclass(frozen=True, slots=True)
class Diversity:
    """The measures by name (kl in nats, the others as shares, 0 to 1), and a picture of the members' saliency.

    `picture` is RGB `(height, width, 3)` uint8: probe frames, and below them what each member looks at; None where
    only answers were watched.
    """

    measures: dict[str, Measured]
    picture: Pixels | None

    def to_json(self) -> dict[str, dict[str, float]]:
        """Return `{name: {"value", "floor"}}`."""
        return {name: {"value": m.value, "floor": m.floor} for name, m in self.measures.items()}


def watch(members: Iterable[LogitsFn], probe: Tensor, seed: int, parent: LogitsFn | None = None) -> Diversity:
    """Measure how far `members` differ on `probe`: their answers, and the hashes of their saliency maps.

    Each member is measured twice, A and B, under two independent draws of a faint noise on the frames (σ = 4/255, the
    same for all members). `value` is the mean of d(i at A, j at B) over i ≠ j, `floor` the mean of d(i at A, i at B):
    a value at its floor says nothing about the members. A lone member differs from nobody: its values are 0.

    Args:
        members: networks, frames to logits. Each is done with before the next is asked for, so a generator may
            load one child after another into the same module.
        probe: frames `(n, c, h, w)`, 0 to 255.
        seed: of the noise.
        parent: shown first in the picture; counts in no measure.

    Raises:
        ShapeError: no member, or a probe of another shape.
    """
    draws = [noisy_copies(probe, COPIES, SIGMA, 2 * seed + draw) for draw in range(2)]
    pairs = [_seen_twice(module, probe, draws) for module in members]
    if not pairs:
        raise ShapeError("diversity: expected at least one member, found none")
    shown = {f"member {i + 1}": pair for i, pair in enumerate(pairs)}
    if parent is not None:
        shown = {"parent": _seen_twice(parent, probe, draws), **shown}
    maps = torch.stack([(a.maps + b.maps) / 2 for a, b in shown.values()])
    return Diversity(_measures(pairs), saliency_strip(probe, maps, list(shown)))


def watch_answers(members: Iterable[LogitsFn], probe: Tensor, seed: int) -> Diversity:
    """Do as `watch`, of the answers alone: for networks that have no gradient by their frames."""
    draws = [noisy_copies(probe, COPIES, SIGMA, 2 * seed + draw).flatten(0, 1) for draw in range(2)]
    with torch.no_grad():
        pairs = [[torch.softmax(module(copies.clone()).float(), -1).cpu() for copies in draws] for module in members]
    return Diversity(_of_answers([torch.stack(side) for side in zip(*pairs, strict=True)]), None)


def watch_outputs(outputs: Tensor) -> Diversity:
    """Do as `watch`, of the members' probabilities `(k, n, c)`: for inputs no noise can be added to; the floor is 0."""
    return Diversity(_of_answers([outputs, outputs]), None)


def _seen_twice(module: LogitsFn, probe: Tensor, draws: Sequence[Tensor]) -> tuple[View, View]:
    actions = greedy_actions(module, probe)
    a, b = (view(module, copies, actions) for copies in draws)
    return a, b


def _measures(pairs: Sequence[tuple[View, View]]) -> dict[str, Measured]:
    sides = list(zip(*pairs, strict=True))
    answers = _of_answers([torch.stack([seen.outputs for seen in side]) for side in sides])
    a, b = (hash_bits(coloured(torch.stack([seen.maps for seen in side]))) for side in sides)
    return answers | {m.name: _measure(m.pairs(a[m.name], b[m.name])) for m in measures.watched() if m.hash}


def _of_answers(sides: Sequence[Tensor]) -> dict[str, Measured]:
    """Measure probabilities `(k, n, c)` under either draw."""
    a, b = sides
    return {measure.name: _measure(measure.pairs(a, b)) for measure in measures.watched() if measure.hash is None}


def _measure(distances: Tensor) -> Measured:
    value = off_diagonal_mean(distances) if len(distances) > 1 else 0.0
    return Measured(value, float(distances.diagonal().mean()))
