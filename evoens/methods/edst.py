"""EDST, efficient dynamic sparse training (FreeTickets, Liu et al. 2022): many sparse members out of one training.

One phase explores; then each member is refined in a phase of its own, at whose end it is kept, and between two of them
most of the weights are dropped and grown anew, so that the next one comes to lie in another basin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from evoens.errors import SpecError
from evoens.methods.dst import Updates
from evoens.settings.classification import TrainSettings

EXPLORED = 1.5  # phases of refinement that the exploration is as long as: 150 epochs and 7 of 100 were published
RATES = (1.0, 0.1, 0.01)  # of the exploration, of a refinement's first half and of its second


@dataclass(frozen=True)
class Phases:
    """How the epochs of a training are shared out.

    Attributes:
        exploration: epochs before the first member's.
        refinement: epochs of each member's.
        members: how many there are.
    """

    exploration: int
    refinement: int
    members: int

    @classmethod
    def of(cls, epochs: int, members: int) -> Phases:
        """Share out `epochs` as was published; what does not come out even is the exploration's.

        Raises:
            SpecError: they are too few.
        """
        refinement = int(epochs / (members + EXPLORED))
        if not refinement:
            fewest = math.ceil(members + EXPLORED)
            raise SpecError(f"members: expected a budget of {fewest} epochs or more for {members}, found {epochs}")
        return cls(epochs - members * refinement, refinement, members)

    @property
    def epochs(self) -> int:
        """All of them."""
        return self.ends[-1]

    @property
    def ends(self) -> list[int]:
        """After how many epochs each member is kept."""
        return [self.exploration + self.refinement * (place + 1) for place in range(self.members)]

    def rate(self, settings: TrainSettings, step: int, steps: int) -> float:
        """Return the learning rate of a step, from 0, of so many: high while it explores, then low and lower."""
        refined, whole = step * self.epochs - self.exploration * steps, self.refinement * steps
        if refined < 0:
            return settings.learning_rate * RATES[0]
        return settings.learning_rate * RATES[1 if 2 * (refined % whole) < whole else 2]

    def updates(self, steps: int, every: int) -> Updates:
        """Return when weights are dropped and grown, of so many steps in all; most of them between two members."""
        begins = [steps * epoch // self.epochs for epoch in (0, self.exploration, *self.ends)]
        return Updates(begins, every, escapes=begins[2:-1])
