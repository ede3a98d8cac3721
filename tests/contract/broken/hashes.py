"""Uses Python's hash of a string, which differs from process to process."""

from evoens import noise
from evoens.strategy import Strategy


class Broken(Strategy):
    def perturb(self, name, weight, gene):
        seed = (gene.seed ^ hash(name)) % 2**64
        return weight + noise.normals(seed, name, weight.shape) * gene.sign * gene.scale * (1 + gene.mask.part)
