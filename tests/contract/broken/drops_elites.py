"""Clears the engine's elites once it has used them."""

from evoens_strategies.noisy import Noisy


class Broken(Noisy):
    def ask(self, n, rng):
        genomes = super().ask(n, rng)
        self.elites = ()
        return genomes
