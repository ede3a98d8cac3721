"""Cannot be made from sigma, density and parts alone."""

from evoens_strategies.noisy import Noisy


class Broken(Noisy):
    def __init__(self, sigma, density, parts, rank):
        super().__init__(sigma, density, parts)
        self.rank = rank
