"""Leaves out the sign: a mirrored pair is one child, evaluated twice."""

from evoens import noise
from evoens.strategy import Strategy


class Broken(Strategy):
    def perturb(self, name, weight, gene):
        step = noise.normals(gene.seed, name, weight.shape) * gene.scale
        return weight + step * noise.keep(gene.mask, name, weight.shape)
