"""Returns the parent."""

from evoens.strategy import Strategy


class Broken(Strategy):
    def perturb(self, name, weight, gene):
        return weight.clone()
