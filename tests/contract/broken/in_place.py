"""Adds its noise to the very tensor it was given."""

from evoens import noise
from evoens.strategy import Strategy


class Broken(Strategy):
    def perturb(self, name, weight, gene):
        return weight.add_(
            noise.normals(gene.seed, name, weight.shape), alpha=gene.sign * gene.scale * (1 + gene.mask.part)
        )
