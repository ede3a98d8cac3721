"""Knows no convolution."""

from evoens import noise
from evoens.strategy import Strategy


class Broken(Strategy):
    def perturb(self, name, weight, gene):
        rows, columns = weight.shape
        return weight + noise.normals(gene.seed, name, (rows, columns)) * gene.scale
