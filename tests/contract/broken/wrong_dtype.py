"""Returns double precision."""

from evoens import noise
from evoens.strategy import Strategy


class Broken(Strategy):
    def perturb(self, name, weight, gene):
        return weight.double() + noise.normals(gene.seed, name, weight.shape) * gene.sign * gene.scale * (
            1 + gene.mask.part
        )
