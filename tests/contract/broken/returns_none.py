"""Forgets to return."""

from evoens.strategy import Strategy


class Broken(Strategy):
    def perturb(self, name, weight, gene):
        weight + gene.scale
