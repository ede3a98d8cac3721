"""How far each member is from each other, by any measure that diversity is watched by: for fitness and selection."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from types import MappingProxyType

import torch
from torch import Tensor

from evoens.diversity.hashes import hash_bits, pairwise_bits
from evoens.diversity.outputs import pairwise_correlation, pairwise_cosine, pairwise_disagreement, pairwise_kl
from evoens.diversity.saliency import COPIES, SIGMA, coloured, greedy_actions, noisy_copies, view
from evoens.parent import Looker

NO_GRADIENT = "the network has no gradient by its inputs"


def _symmetric_kl(p: Tensor) -> Tensor:
    found = pairwise_kl(p, p)
    return (found + found.T) / 2


OF_OUTPUTS: MappingProxyType[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "kl": _symmetric_kl,
        "disagreement": lambda p: pairwise_disagreement(p, p),
        "correlation": lambda p: 1 - pairwise_correlation(p, p),
        "cosine": lambda p: 1 - pairwise_cosine(p, p),
    }
)
"""Distances by name, from probabilities `(k, n, c)` to `(k, k)`: symmetric, 0 for members that answer alike."""


def of_saliency(members: Iterable[Looker], frames: Tensor, seed: int, hash_name: str) -> Tensor:
    """Share of bits in which the hashes of two members' saliency maps differ, averaged over frames: `(k, k)`.

    Args:
        members: frames to logits; each is done with before the next is asked for.
        frames: `(n, c, h, w)`, 0 to 255.
        seed: of the faint noise on them, the same for all members.
        hash_name: one of the five of `diversity.hashes`.
    """
    copies = noisy_copies(frames, COPIES, SIGMA, 2 * seed)
    maps = [view(member, copies, greedy_actions(member, frames)).maps for member in members]
    bits = hash_bits(coloured(torch.stack(maps)))[hash_name]
    return pairwise_bits(bits, bits)


def mean_to_others(distances: Tensor) -> Tensor:
    """Return each member's mean distance to the others, `(k,)`, of `(k, k)` with zeros on the diagonal; 0 if alone."""
    return distances.sum(1) / max(1, len(distances) - 1)
