"""Draws from torch's global random state."""

import torch

from evoens.strategy import Strategy


class Broken(Strategy):
    def perturb(self, name, weight, gene):
        seed = sum(name.encode()) + gene.seed % 1000
        return weight + torch.randn_like(weight) * gene.sign * gene.scale * (1 + gene.mask.part) * (1 + seed / 10000)
