"""Stochastic subnetworks: masks drawn anew at every step, annealed while a child is tuned (dissertation ch. 6)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from evoens import noise
from evoens.errors import SpecError
from evoens.genome import Gene, Mask
from evoens.masked import Masked, one_of

WHOLE = 65536


class Stochastic(Masked):
    """`W∘Bernoulli(P)` at every step, `P` on its way to the child's mask X, which is reached and stays (eq. 6.1–6.6).

    A weight that X keeps is left out with some probability, one that X leaves out is kept with some; both sink to zero
    by the schedule. Over all parts of a draw a weight's `P` sum to one, so that `P' = 1 − P` (6.1), but for
    `temperature`, whose subnetwork is always active.

    Args:
        density: the share of weights that a child keeps in the end.
        parts: 1 for masks drawn for each child, 2 for masks and their anti-masks, k for k disjoint masks.
        structure: of X, `unstructured`, `exact`, `channels` or `2:4`; see `evoens.genome.Mask`.
        output: whether the output layer is annealed too.
        annealing: `temperature`, `P` is 1 within X and τ outside (6.6); `two-sided`, 1 − τ and τ; `random`, `P` is
            uniform, and X where it is largest (6.2.1); `mixture`, `P` has one Gaussian outside X, and one within (6.5).
        schedule: `linear` (6.2), `cosine` (6.3), or `exponential` (6.4), which leaps the rest at its end.
        tau: τ where the annealing begins.
        over: the share of a child's training that is annealed.
        rate: k of the exponential schedule.
        outside, inside: mean and deviation of the mixture's Gaussians.

    Raises:
        GenomeError: no mask is like that. SpecError: a setting is out of its bounds.
    """

    def __init__(
        self,
        density: float = 0.5,
        parts: int = 2,
        *,
        structure: str = "unstructured",
        output: bool = False,
        annealing: str = "temperature",
        schedule: str = "cosine",
        tau: float = 0.5,
        over: float = 0.3,
        rate: float = 5.0,
        outside: Sequence[float] = (0.25, 0.1),
        inside: Sequence[float] = (0.75, 0.1),
    ) -> None:
        super().__init__(density, parts, structure=structure, output=output)
        self.annealing = one_of("annealing", annealing, ("temperature", "two-sided", "random", "mixture"))
        self.schedule = one_of("schedule", schedule, ("linear", "cosine", "exponential"))
        self.tau, self.mask_fixed_from, self.rate, self.outside, self.inside = tau, over, rate, outside, inside
        if not 0 <= tau <= 1 or not 0 < over <= 1 or rate <= 0:
            raise SpecError(f"tau, over, rate: expected [0, 1], (0, 1] and > 0, found {tau}, {over}, {rate}")
        if annealing == "random" and structure != "unstructured":
            raise SpecError(f"structure: expected unstructured, since annealing is random, found {structure}")

    def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
        """Return the weights as they are: a child begins with all of them, and `train_mask` takes them out."""
        return weight.clone()

    def train_mask(self, name: str, weight: Tensor, gene: Gene, progress: float, step: int) -> Tensor:
        """Return a draw of its own for every step, then X."""
        mask = gene.mask
        assert mask is not None
        if progress >= self.mask_fixed_from:
            return noise.keep(mask, name, weight.shape, weight.device)
        target, chance = noise.once((gene, name), lambda: self._begin(mask, name, weight.shape))
        drawn = noise.annealed_mask(gene.seed, f"step {step}:{name}", target, chance, self.temperature(progress))
        return drawn.to(weight.device)

    def temperature(self, progress: float) -> float:
        """Return the share that is left of the probabilities by which `P` and X differ, 1 at the beginning."""
        t = progress / self.mask_fixed_from
        if t >= 1:
            return 0.0
        if self.schedule == "linear":
            return 1 - t
        return (1 + math.cos(math.pi * t)) / 2 if self.schedule == "cosine" else math.exp(-self.rate * t)

    def _begin(self, mask: Mask, name: str, shape: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return X, and the chance of each weight to differ from it when annealing begins, in 65536ths."""
        target = noise.keep(mask, name, shape)
        out = back = self._chance(mask, name, target)
        if self.annealing == "temperature":
            out = torch.zeros_like(out)
        elif mask.parts > 2:  # what a weight's own part leaves is shared among the others
            back = back // (mask.parts - 1)
            out = back * (mask.parts - 1)
        return target, torch.where(target, out, back).clamp(max=WHOLE - 1).to(torch.uint16)

    def _chance(self, mask: Mask, name: str, target: Tensor) -> Tensor:
        """Return the chance of differing: of all weights that of their own part, where there are more than two."""
        if self.annealing in ("temperature", "two-sided"):
            return torch.tensor(round(self.tau * WHOLE))
        # `first`: where the first of two parts keeps a weight, since the other's P' is 1 − P
        first = torch.ones_like(target) if mask.parts > 2 else target ^ bool(mask.part)
        if self.annealing == "mixture":
            z = noise.normals(mask.seed, f"mixture:{name}", target.shape)
            p = torch.where(first, self.inside[0] + self.inside[1] * z, self.outside[0] + self.outside[1] * z)
            kept = (p * WHOLE).round().clamp(1, WHOLE - 1).long()
        else:
            place = torch.from_numpy(noise.words(mask.seed, f"mask:{name}", target.numel()).astype("int64"))
            within = place * mask.parts % WHOLE * (mask.parts - 1) // mask.parts if mask.parts > 2 else place
            kept = WHOLE - within.reshape(target.shape)  # U(0, 1), largest where the mask's words are lowest
        return torch.where(first, WHOLE - kept, kept)
