"""EDST, efficient dynamic sparse training (FreeTickets, Liu et al. 2022): many sparse members out of one training.

One phase explores; then each member is refined in a phase of its own, at whose end it is kept, and between two of them
most of the weights are dropped and grown anew, so that the next one comes to lie in another basin.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from evoens.errors import SpecError
from evoens.methods.base import Baseline, Fitted
from evoens.methods.dst import DynamicMasks, Updates
from evoens.methods.setting import Setting, whole
from evoens.progress import OnProgress
from evoens.settings.classification import TrainSettings

EXPLORED = 1.5  # phases of refinement that the exploration is as long as: 150 epochs and 7 of 100 were published
RATES = (1.0, 0.1, 0.01)  # of the exploration, of a refinement's first half and of its second


class EDST(Baseline):
    """Sparse networks that one training passes: it explores, then refines each of them in turn.

    Args:
        members: how many there are.
        density: the share of the weights of convolutions and linear layers that each has.
        every: the steps between two updates of which weights these are.
        grow: "gradient" grows weights where the gradient is largest, "random" anywhere.
    """

    name = "edst"

    def __init__(self, members: int = 4, density: float = 0.1, every: int = 100, grow: str = "gradient") -> None:
        DynamicMasks(density, every, grow)
        self.members, self.density, self.every, self.grow = whole("members", members), density, every, grow

    def require(self, epochs: int) -> None:
        """See `Baseline.require`."""
        Phases.of(epochs, self.members)

    def fit(self, setting: Setting, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Baseline.fit`."""
        phases = Phases.of(setting.epochs, self.members)
        masks = PhasedMasks(self.density, self.every, self.grow, phases)
        one = setting.train(on_progress, cycles=phases, masks=masks, keep=phases.ends)
        return Fitted.of(setting.networks([one.copy(end) for end in phases.ends]), [one])


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


@dataclass(frozen=True)
class PhasedMasks(DynamicMasks):
    """Masks that change by phases."""

    phases: Phases

    def updates(self, steps: int) -> Updates:
        """See `DynamicMasks.updates`."""
        return self.phases.updates(steps, self.every)
