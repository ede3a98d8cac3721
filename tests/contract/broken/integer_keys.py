"""Keeps its state under integers, which JSON turns into strings."""

from evoens_strategies.noisy import Noisy


class Broken(Noisy):
    def __init__(self, sigma, density=0.5, parts=2):
        super().__init__(sigma, density, parts)
        self.seen = {0: 0}

    def ask(self, n, rng):
        self.sigma = 0.02 / (1 + self.seen[0])
        return super().ask(n, rng)

    def tell(self, records):
        self.seen[0] += 1

    def state_dict(self):
        return {"seen": self.seen}

    def load_state_dict(self, state):
        self.seen = dict(state["seen"])
