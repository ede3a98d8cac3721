"""Seeds torch's global random state before every draw."""

import torch

from evoens.strategy import Strategy


class Broken(Strategy):
    def perturb(self, name, weight, gene):
        torch.manual_seed(gene.seed + sum(name.encode()))
        return weight + torch.randn_like(weight) * gene.sign * gene.scale * (1 + gene.mask.part)
