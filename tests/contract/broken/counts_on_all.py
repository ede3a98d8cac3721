"""Expects a score for every child it asked for."""

from evoens_strategies.noisy import Noisy


class Broken(Noisy):
    def ask(self, n, rng):
        self.asked = n
        return super().ask(n, rng)

    def tell(self, records):
        for place in range(len(records)):
            records[place].score + records[(place + 1) % len(records)].score
        if len(records) < 8:
            raise ValueError("expected 8 records")
