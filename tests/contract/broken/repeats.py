"""Starts its own generator anew each time, and so asks for the same genomes in every generation."""

from random import Random

from evoens_strategies.noisy import Noisy


class Broken(Noisy):
    def ask(self, n, rng):
        return super().ask(n, Random(0))
