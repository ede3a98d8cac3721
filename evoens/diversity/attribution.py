"""How far members differ in what they look at: attribution diversity, and distances between their maps (DRE eq. 7)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import torch
from captum.attr import IntegratedGradients
from torch import Tensor

from evoens.diversity.hashes import hash_bits, pairwise_bits
from evoens.diversity.saliency import (
    COPIES,
    SIGMA,
    coloured,
    gradients,
    greedy_actions,
    noisy_copies,
    unit_maps,
)
from evoens.parent import LogitsFn

RANGE = 255  # grey levels of a pixel: a score is for all of them, so that it does not depend on how they are counted
PATH = 16  # points of the integral of Integrated Gradients

Attribute = Callable[[LogitsFn, Tensor, Tensor], Tensor]
"""A network, noisy copies `(s, n, c, h, w)` of frames, the answers to explain `(n,)`: signed scores `(n, c, h, w)`."""


def saliency(module: LogitsFn, copies: Tensor, answers: Tensor) -> Tensor:
    """The gradient of the answer's probability by the first of the copies (Simonyan, Vedaldi & Zisserman 2014)."""
    return gradients(module, copies[:1], answers)[1] * RANGE


def smoothgrad(module: LogitsFn, copies: Tensor, answers: Tensor) -> Tensor:
    """That gradient, averaged over the copies (Smilkov et al. 2017; IDA eq. 15)."""
    return gradients(module, copies, answers)[1] * RANGE


def integrated_gradients(module: LogitsFn, copies: Tensor, answers: Tensor) -> Tensor:
    """The first copy times the mean gradient on the way to it from black (Sundararajan, Taly & Yan 2017).

    The integral is the Gauss–Legendre rule with 16 points.
    """

    def probabilities(frames: Tensor) -> Tensor:
        return torch.softmax(module(frames.clone()).float(), dim=-1)

    explainer = IntegratedGradients(probabilities, multiply_by_inputs=True)
    found: Tensor = explainer.attribute(copies[0], target=answers, n_steps=PATH, internal_batch_size=len(answers) * 4)
    return found.detach().float()


METHODS: MappingProxyType[str, Attribute] = MappingProxyType(
    {"saliency": saliency, "smoothgrad": smoothgrad, "integrated-gradients": integrated_gradients}
)
"""The methods of attribution by name."""


@dataclass(frozen=True, slots=True)
class Attributions:
    """Distances between k members' attributions of n inputs, each member seen under two draws of noise, A and B.

    Attributes:
        rmse: root of the mean squared difference between map i at A and map j at B, float64 `(n, k, k)`. A map is the
            scores' absolute values summed over channels, scaled to 0..1 by its 99th percentile.
        bits: by hash, the share of bits in which the painted maps differ, averaged over inputs, `(k, k)`.
        variance: the attribution diversity of each input, `(n,)`: the members' variance at A, summed over channels and
            pixels (DRE eq. 7).
        floor: the same between A and B of one member, averaged over members, `(n,)`.
    """

    rmse: Tensor
    bits: dict[str, Tensor]
    variance: Tensor
    floor: Tensor


def attribute(members: Iterable[LogitsFn], frames: Tensor, method: Attribute, seed: int) -> Attributions:
    """Attribute each member's likeliest answers on `frames` to their pixels, and compare the members.

    Each is seen under two draws of the faint noise of `saliency.SIGMA`, the same for all: what a member differs from
    itself by is the floor below which a difference between members says nothing.

    Args:
        members: k networks, frames to logits; each is done with before the next is asked for.
        frames: `(n, c, h, w)`, 0 to 255.
        method: one of `METHODS`; scores are per whole range of a pixel's value, not per grey level.
        seed: of the noise.
    """
    draws = [noisy_copies(frames, COPIES, SIGMA, 2 * seed + draw) for draw in range(2)]
    scores = torch.stack([_both(module, frames, draws, method) for module in members], dim=1)  # (2, k, n, c, h, w)
    maps = scores.abs().sum(3)
    a, b = torch.from_numpy(unit_maps(maps)).flatten(3).double()
    bits = [hash_bits(coloured(side)) for side in maps]
    return Attributions(
        rmse=_rmse(a, b),
        bits={name: pairwise_bits(bits[0][name], bits[1][name]) for name in bits[0]},
        variance=_variance(scores[0]),
        floor=torch.stack([_variance(scores[:, i]) for i in range(scores.shape[1])]).mean(0),
    )


def _both(module: LogitsFn, frames: Tensor, draws: Sequence[Tensor], method: Attribute) -> Tensor:
    """Scores under both draws, `(2, n, c, h, w)`, on the CPU."""
    answers = greedy_actions(module, frames)
    return torch.stack([method(module, copies, answers).cpu() for copies in draws])


def _variance(scores: Tensor) -> Tensor:
    """The unbiased variance over the first axis, summed over all but the second; 0 for a lone member."""
    spread = scores.double().var(0, correction=min(1, len(scores) - 1))
    return spread.flatten(1).sum(1)


def _rmse(a: Tensor, b: Tensor) -> Tensor:
    """Of maps `(k, n, pixels)` each: `(n, k, k)`."""
    first, second = a.transpose(0, 1), b.transpose(0, 1)
    length: Tensor = torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")
    return length / math.sqrt(a.shape[-1])
