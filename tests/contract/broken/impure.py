"""Counts its calls, and lets the count change the child."""

from evoens import noise
from evoens.strategy import Strategy


class Broken(Strategy):
    calls = 0

    def perturb(self, name, weight, gene):
        self.calls += 1
        return weight + noise.normals(gene.seed + self.calls, name, weight.shape) * gene.sign * gene.scale * (
            1 + gene.mask.part
        )
