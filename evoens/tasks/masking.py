"""Hold back the weights that a child's genes leave out, while the child is trained.

A weight that is held out of a step has no part in its passes and gets no gradient: `Ŵ = W∘M` and `∂L/∂W = ∂L/∂Ŵ ∘ M`
(dissertation 3.2, 6.2). While masks still change, W keeps what it had; from the moment they are settled it is zero, and
so is its momentum, so that no optimiser ever moves it again.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from evoens.genome import Genome
from evoens.scope import touches
from evoens.strategy import Strategy


class GeneMasking:
    """The masks of one child, as its Strategy gives them; see `evoens.tasks.sgd.Masking`.

    Args:
        strategy: says which weights take part.
        genome: of the child; a weight must take part by every gene that touches it.
        weights: the parameters that may be held back, by name.
        optimiser: whose state must forget what is left out for good.
    """

    def __init__(
        self,
        strategy: Strategy,
        genome: Genome,
        weights: Mapping[str, nn.Parameter],
        optimiser: torch.optim.Optimizer,
    ) -> None:
        self.strategy, self.genome, self.weights, self.optimiser = strategy, genome, weights, optimiser
        self._masks: dict[str, Tensor] = {}
        self._lent: dict[str, Tensor] = {}
        self._settled = False

    def before(self, progress: float, step: int) -> None:
        """Mask the weights for this step; for good, once the Strategy says that nothing changes any more."""
        if self._settled:
            return
        self._masks = self.masks(progress, step)
        if progress >= self.strategy.settled:
            self._settle()
            return
        for name, mask in self._masks.items():
            weight = self.weights[name]
            self._lent[name] = weight.data
            weight.data = weight.data * mask

    def after(self) -> None:
        """Mask the gradients, and put back the weights that were only lent out."""
        for name, mask in self._masks.items():
            gradient = self.weights[name].grad
            if gradient is not None:
                gradient.mul_(mask)
        for name, whole in self._lent.items():
            self.weights[name].data = whole
        self._lent = {}

    def finish(self) -> None:
        """Mask the weights for good, where that has not come to pass yet."""
        if not self._settled:
            self._masks = self.masks(1.0, 0)
            self._settle()

    def masks(self, progress: float, step: int) -> dict[str, Tensor]:
        """Return where weights take part, 1, and where not, 0, for each tensor in which some do not."""
        found = {}
        for name, weight in self.weights.items():
            parts = [
                part
                for gene in self.genome.genes
                if touches(gene.scope, name)
                and (part := self.strategy.keep(name, weight.data, gene, progress, step)) is not None
            ]
            if parts:
                found[name] = (
                    torch.stack(parts).all(0).to(weight.dtype) if len(parts) > 1 else parts[0].to(weight.dtype)
                )
        return found

    def _settle(self) -> None:
        self._settled = True
        for name, mask in self._masks.items():
            weight = self.weights[name]
            weight.data.mul_(mask)
            for value in self.optimiser.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == mask.shape:
                    value.mul_(mask)
