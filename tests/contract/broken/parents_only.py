"""Asks for genomes without a gene."""

from evoens_strategies.noisy import Noisy

from evoens.genome import Genome


class Broken(Noisy):
    def ask(self, n, rng):
        return [Genome(), *super().ask(n - 1, rng)]
