"""Noisy subnetworks: Gaussian noise on a masked share of the weights, no training (dissertation ch. 4)."""

from __future__ import annotations

import torch
from torch import Tensor

from evoens import noise
from evoens.genome import Gene
from evoens.strategy import Strategy


class Noisy(Strategy):
    """`Ŵ = W ± σ·N∘M` (eq. 4.8–4.11): mirrored noise, on each part of a random partition of the weights."""

    def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
        """Add `sign · scale` times standard normal noise where the gene's mask holds."""
        step = noise.normals(gene.seed, name, weight.shape, weight.device).mul_(gene.sign * gene.scale)
        if gene.mask is None:
            return weight + step
        return torch.where(noise.keep(gene.mask, name, weight.shape, weight.device), weight + step, weight)
