"""Not broken, but takes no notice of σ."""

from evoens import noise
from evoens.strategy import Strategy


class Fixed(Strategy):
    def perturb(self, name, weight, gene):
        return weight + noise.normals(gene.seed, name, weight.shape) * gene.sign * 0.02 * (1 + gene.mask.part)
