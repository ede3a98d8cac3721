"""How far each member is from each other, by any measure that diversity is watched by: for fitness and selection."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from evoens.diversity.hashes import hash_bits
from evoens.diversity.measures import Measure
from evoens.diversity.saliency import COPIES, SIGMA, coloured, greedy_actions, noisy_copies, view
from evoens.parent import LogitsFn

NO_GRADIENT = "the network has no gradient by its inputs"


def of_saliency(members: Iterable[LogitsFn], frames: Tensor, seed: int, measure: Measure) -> Tensor:
    """Distance between the hashes of two members' saliency maps, averaged over frames: `(k, k)`.

    Args:
        members: frames to logits; each is done with before the next is asked for.
        frames: `(n, c, h, w)`, 0 to 255.
        seed: of the faint noise on them, the same for all members.
        measure: which hash, and how its bits are compared.
    """
    copies = noisy_copies(frames, COPIES, SIGMA, 2 * seed)
    maps = [view(member, copies, greedy_actions(member, frames)).maps for member in members]
    return measure.distances(hash_bits(coloured(torch.stack(maps)))[measure.name])


def mean_to_others(distances: Tensor) -> Tensor:
    """Return each member's mean distance to the others, `(k,)`, of `(k, k)` with zeros on the diagonal; 0 if alone."""
    return distances.sum(1) / max(1, len(distances) - 1)
