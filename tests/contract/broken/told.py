"""Lets tell change what an old gene means."""

from evoens import noise
from evoens.strategy import Strategy


class Broken(Strategy):
    best = 1.0

    def perturb(self, name, weight, gene):
        return (
            weight
            + noise.normals(gene.seed, name, weight.shape) * gene.sign * gene.scale * (1 + gene.mask.part) * self.best
        )

    def tell(self, records):
        self.best = 0.5
