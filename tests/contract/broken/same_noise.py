"""Draws by the seed alone: tensors of equal shape get the same noise."""

import torch

from evoens.strategy import Strategy


class Broken(Strategy):
    def perturb(self, name, weight, gene):
        generator = torch.Generator().manual_seed(gene.seed)
        return weight + torch.randn(weight.shape, generator=generator) * gene.sign * gene.scale * (1 + gene.mask.part)
