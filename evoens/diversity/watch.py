"""Watch diversity while evolving: how far members differ, beside how far one member differs from itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from evoens.diversity.hashes import hash_bits, pairwise_bits
from evoens.diversity.outputs import off_diagonal_mean, pairwise_disagreement, pairwise_kl
from evoens.diversity.saliency import View, coloured, greedy_actions, noisy_copies, view

SIGMA = 4.0  # grey levels of 255
COPIES = 4  # noisy copies of each frame in either draw


@dataclass(frozen=True, slots=True)
class Measure:
    """A distance between members (`value`), and what the noise of measuring alone gives for one member (`floor`)."""

    value: float
    floor: float


@dataclass(frozen=True, slots=True)
class Diversity:
    """The measures by name (kl in nats, the others as shares, 0 to 1), and each member's saliency maps `(k, n, h, w)`."""

    measures: dict[str, Measure]
    maps: Tensor

    def to_json(self) -> dict[str, dict[str, float]]:
        """Return `{name: {"value", "floor"}}`."""
        return {name: {"value": m.value, "floor": m.floor} for name, m in self.measures.items()}


def watch(members: Iterable[nn.Module], probe: Tensor, seed: int) -> Diversity:
    """Measure how far `members` differ on `probe`: their answers, and the hashes of their saliency maps.

    Each member is measured twice, A and B, under two independent draws of a faint noise on the frames (σ = 4/255, the
    same for all members). `value` is the mean of d(i at A, j at B) over i ≠ j, `floor` the mean of d(i at A, i at B):
    a value at its floor says nothing about the members.

    Args:
        members: k ≥ 2 modules, frames to logits. Each is done with before the next is asked for, so a generator may
            load one child after another into the same module.
        probe: frames `(n, c, h, w)`, 0 to 255.
        seed: of the noise.

    Raises:
        ShapeError: fewer than two members, or a probe of another shape.
    """
    draws = [noisy_copies(probe, COPIES, SIGMA, 2 * seed + draw) for draw in range(2)]
    views: tuple[list[View], list[View]] = ([], [])
    for module in members:
        actions = greedy_actions(module, probe)
        for seen, copies in zip(views, draws, strict=True):
            seen.append(view(module, copies, actions))
    return Diversity(*_compare(*views))


def _compare(a: list[View], b: list[View]) -> tuple[dict[str, Measure], Tensor]:
    outputs = [torch.stack([v.outputs for v in side]) for side in (a, b)]
    maps = [torch.stack([v.maps for v in side]) for side in (a, b)]
    bits = [hash_bits(coloured(m)) for m in maps]
    distances = {"kl": pairwise_kl(*outputs), "disagreement": pairwise_disagreement(*outputs)}
    distances |= {name: pairwise_bits(bits[0][name], bits[1][name]) for name in bits[0]}
    measures = {n: Measure(off_diagonal_mean(d), float(d.diagonal().mean())) for n, d in distances.items()}
    return measures, (maps[0] + maps[1]) / 2
