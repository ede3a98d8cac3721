"""Networks with several members inside: one module that answers for an ensemble, trained in one go.

What is drawn when one is made of a network comes from torch's generator, as a network's first weights do: whoever makes
one seeds it. All that was drawn is in the state dict, so that one made anew of the same network takes it up again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection

import torch
from torch import Tensor, nn

from evoens.methods.setting import whole

Batch = tuple[Tensor, Tensor]
"""What a step of training is given: inputs, and the members' targets `(k, m)`."""


class Apart(Tensor):
    """Inputs `(m, k, *input)`, of which each member has its own; all other inputs are the same for every member."""


class Joint(nn.Module, ABC):
    """A network of `k` members; it is trained by the mean of their cross-entropies.

    Args:
        members: k.

    Raises:
        SpecError: there is none.
    """

    def __init__(self, members: int) -> None:
        super().__init__()
        self.members = whole("members", members)

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """Inputs `(n, *input)`, the same for every member, to logits `(k, n, c)`; or `Apart`, `(m, k, *input)`."""

    def training_batch(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Batch:
        """Return what a step of training is given of a batch: inputs for `forward`, and what they are, `(k, m)`.

        Here every member learns all of it.

        Args:
            x: inputs `(n, *input)`.
            y: their classes `(n,)`.
            generator: on the CPU; whatever is drawn comes from it.
        """
        return x, y.expand(self.members, -1)

    def undecayed(self) -> Collection[str]:
        """Return the names of the parameters that no weight decay may pull to zero."""
        return ()

    def given(self, x: Tensor) -> list[Tensor]:
        """Return what each member is given of `forward`'s inputs: k times `(m, *input)`."""
        return list(x.as_subclass(Tensor).unbind(1)) if isinstance(x, Apart) else [x] * self.members


def apart(x: Tensor, y: Tensor, places: Tensor) -> Batch:
    """Return a batch of which each member is given those at its own `places`, of all `(k, m)`."""
    places = places.to(x.device)
    inputs = torch.unflatten(x[places.flatten()], 0, places.shape).transpose(0, 1)
    return inputs.as_subclass(Apart), y[places]


class Stacked(Joint):
    """Members that lie one after another in the batch: a network whose layers know that, and nothing between them.

    So whatever the network does to each input by itself, it does to each member's.

    Attributes:
        network: takes `(k · m, *input)`, member by member, and gives logits `(k · m, c)` in that order.
    """

    network: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        """See `Joint.forward`."""
        return torch.unflatten(self.network(torch.cat(self.given(x))), 0, (self.members, -1))
