"""Draws seeds from the global random state instead of the generator it was given."""

import random

from evoens_strategies.noisy import Noisy


class Broken(Noisy):
    def ask(self, n, rng):
        return super().ask(n, random.Random(random.random()))
