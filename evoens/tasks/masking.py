"""Hold back the weights that a child's genes leave out, while the child is trained.

A weight that is held out of a step has no part in its passes and gets no gradient: `Ŵ = W∘M` and `∂L/∂W = ∂L/∂Ŵ ∘ M`
(dissertation 3.2, 6.2). While a mask holds for one step, W keeps what it had; from the moment it holds for longer W is
zero where it leaves out, and so is its momentum, so that no optimiser ever moves it again.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from evoens import noise
from evoens.children import train_mask
from evoens.genome import Genome
from evoens.scope import touches
from evoens.strategy import Strategy

UNTIL = "until"  # beside the masks in a checkpoint; a parameter's name ends in that of its kind


class Masking(Protocol):
    """Holds some weights out of the steps of a training; see `GeneMasking`."""

    def before(self, progress: float, step: int) -> None:
        """Take out what does not take part in this step's passes."""

    def after(self) -> None:
        """Take its gradients away, and put back what was only lent out."""

    def finish(self) -> None:
        """Take out for good what the finished child does not have."""

    def shares(self) -> Mapping[str, float]:
        """Return which share of each weight takes part in this step, by name, where that is not all of it."""

    def checkpoint(self) -> Mapping[str, Tensor]:
        """Return what `restore` needs beside weights and steps."""

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `checkpoint` returned."""


class NoMasking:
    """Every weight takes part."""

    def before(self, progress: float, step: int) -> None:
        """See `Masking.before`."""

    def after(self) -> None:
        """See `Masking.after`."""

    def finish(self) -> None:
        """See `Masking.finish`."""

    def shares(self) -> Mapping[str, float]:
        """See `Masking.shares`."""
        return {}

    def checkpoint(self) -> Mapping[str, Tensor]:
        """See `Masking.checkpoint`."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Masking.restore`."""


class FixedMasking:
    """The same masks throughout; see `Masking`.

    Args:
        masks: where weights take part, bool, by name; what is left out is zero from now on.
        weights: the parameters, by name.
    """

    def __init__(self, masks: Mapping[str, Tensor], weights: Mapping[str, nn.Parameter]) -> None:
        self._weights = {name: weights[name] for name in masks}
        self._masks = {name: numbers(mask, weights[name]) for name, mask in masks.items()}
        self._shares = {name: int(mask.count_nonzero()) / mask.numel() for name, mask in masks.items()}
        self.finish()

    def before(self, progress: float, step: int) -> None:
        """See `Masking.before`: it is left out already."""

    def after(self) -> None:
        """See `Masking.after`; a weight without a gradient never gets a momentum."""
        for name, mask in self._masks.items():
            gradient = self._weights[name].grad
            if gradient is not None:
                gradient.mul_(mask)

    def finish(self) -> None:
        """See `Masking.finish`."""
        for name, mask in self._masks.items():
            self._weights[name].data.mul_(mask)

    def shares(self) -> Mapping[str, float]:
        """See `Masking.shares`."""
        return self._shares

    def checkpoint(self) -> Mapping[str, Tensor]:
        """See `Masking.checkpoint`: the masks are those that it was made with."""
        return {}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """See `Masking.restore`."""


class GeneMasking:
    """The masks of one child, as its Strategy gives them; see `Masking`.

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
        self._shares: dict[str, float] | None = None
        self._lent: dict[str, Tensor] = {}
        self._memo: dict[Hashable, Any] = {}
        self._until = 0.0

    def before(self, progress: float, step: int) -> None:
        """Mask the weights for this step, or for good where the Strategy gives the same for longer."""
        if progress < self._until:
            return
        self._masks, until = self.masks(progress, step), self.strategy.mask_valid_until(progress)
        self._shares = None
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

    def shares(self) -> Mapping[str, float]:
        """See `Masking.shares`."""
        if self._shares is None:
            self._shares = {name: int(mask.count_nonzero()) / mask.numel() for name, mask in self._masks.items()}
        return self._shares

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
                found[name] = numbers(torch.stack(parts).all(0) if len(parts) > 1 else parts[0], weight)
        return found

    def checkpoint(self) -> dict[str, Tensor]:
        """Return the masks that still hold: by magnitude, weights that have moved since would give others."""
        if not self._until or not self._masks:
            return {}
        until = torch.tensor(self._until, dtype=torch.float64)
        return {UNTIL: until, **{name: mask.bool() for name, mask in self._masks.items()}}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `checkpoint` returned."""
        masks, self._shares = dict(tensors), None
        self._until = float(masks.pop(UNTIL, torch.tensor(0.0)))
        self._masks = {name: numbers(mask, self.weights[name]) for name, mask in masks.items()}

    def _forget(self) -> None:
        self._memo.clear()
        for name, mask in self._masks.items():
            forget(self.weights[name], mask, self.optimiser)


def forget(weight: nn.Parameter, mask: Tensor, optimiser: torch.optim.Optimizer) -> None:
    """Make a weight zero where `mask` is, and all that the optimiser remembers of it."""
    weight.data.mul_(mask)
    for value in optimiser.state.get(weight, {}).values():
        if isinstance(value, Tensor) and value.shape == mask.shape:
            value.mul_(mask)


def numbers(mask: Tensor, weight: Tensor) -> Tensor:
    """Return `mask` as numbers of `weight`'s dtype, laid out like it: so its products are quick."""
    return torch.empty_like(weight).copy_(mask.view(torch.uint8))  # bytes: from bool it takes three times as long
