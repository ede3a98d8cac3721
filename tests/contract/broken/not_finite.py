"""Divides by weights that may be zero."""

import torch

from evoens import noise
from evoens.strategy import Strategy


class Broken(Strategy):
    def perturb(self, name, weight, gene):
        step = noise.normals(gene.seed, name, weight.shape) * gene.sign * gene.scale * (1 + gene.mask.part)
        return torch.where(step > 0.04, weight / 0, weight + step)
