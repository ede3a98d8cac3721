"""Hold back the weights that a child's genes leave out, while the child is trained.

A weight that is held out of a step has no part in its passes and gets no gradient: `Ŵ = W∘M` and `∂L/∂W = ∂L/∂Ŵ ∘ M`
(dissertation 3.2, 6.2). While a mask holds for one step, W keeps what it had; from the moment it holds for longer W is
zero where it leaves out, and so is its momentum, so that no optimiser ever moves it again.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from evoens import noise
from evoens.children import train_mask
from evoens.genome import Genome
from evoens.scope import touches
from evoens.strategy import Strategy

UNTIL = "until"  # beside the masks in a checkpoint; a parameter's name ends in that of its kind


class GeneMasking:
    """The masks of one child, as its Strategy gives them; see `evoens.tasks.sgd.Masking`.

    Args:
        strategy: says which weights take part, and for how long.
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
        self._memo: dict[Hashable, Any] = {}
        self._until = 0.0

    def before(self, progress: float, step: int) -> None:
        """Mask the weights for this step, or for good where the Strategy gives the same for longer."""
        if progress < self._until:
            return
        self._masks, until = self.masks(progress, step), self.strategy.mask_valid_until(progress)
        if until > progress:
            self._until = until
            self._forget()
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
        if self._until < 1:
            self._masks, self._until = self.masks(1.0, 0), 1.0
            self._forget()

    def masks(self, progress: float, step: int) -> dict[str, Tensor]:
        """Return where weights take part, 1, and where not, 0, for each tensor in which some do not."""
        found = {}
        for name, weight in self.weights.items():
            with noise.remembering(self._memo):
                parts = [
                    part
                    for gene in self.genome.genes
                    if touches(gene.scope, name)
                    and (part := train_mask(self.strategy, name, weight.data, gene, progress=progress, step=step))
                    is not None
                ]
            if parts:
                found[name] = _numbers(torch.stack(parts).all(0) if len(parts) > 1 else parts[0], weight)
        return found

    def checkpoint(self) -> dict[str, Tensor]:
        """Return the masks that still hold: by magnitude, weights that have moved since would give others."""
        if not self._until or not self._masks:
            return {}
        until = torch.tensor(self._until, dtype=torch.float64)
        return {UNTIL: until, **{name: mask.bool() for name, mask in self._masks.items()}}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `checkpoint` returned."""
        masks = dict(tensors)
        self._until = float(masks.pop(UNTIL, torch.tensor(0.0)))
        self._masks = {name: _numbers(mask, self.weights[name]) for name, mask in masks.items()}

    def _forget(self) -> None:
        self._memo.clear()
        for name, mask in self._masks.items():
            weight = self.weights[name]
            weight.data.mul_(mask)
            for value in self.optimiser.state.get(weight, {}).values():
                if isinstance(value, Tensor) and value.shape == mask.shape:
                    value.mul_(mask)


def _numbers(mask: Tensor, weight: Tensor) -> Tensor:
    """Return `mask` as numbers of `weight`'s dtype, laid out like it: so its products are quick."""
    return torch.empty_like(weight).copy_(mask.view(torch.uint8))  # bytes: from bool it takes three times as long
