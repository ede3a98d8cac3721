"""Has its own __init__ and leaves out the base's."""

from evoens_strategies.noisy import Noisy


class Broken(Noisy):
    def __init__(self, sigma, density=0.5, parts=2):
        self.scale = sigma
