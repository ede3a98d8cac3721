"""Asks for dicts instead of genomes."""

from evoens_strategies.noisy import Noisy


class Broken(Noisy):
    def ask(self, n, rng):
        return [{"seed": rng.random()} for _ in range(n)]
