"""Dynamic sparse training (SET, Mocanu et al. 2018; RigL, Evci et al. 2020): sparse from the first step to the last.

A mask for each layer, of Erdős–Rényi-kernel density, is kept at exactly as many weights: now and then the smallest are
dropped and as many others grown. An ensemble of such trainings is FreeTickets' DST (Liu et al. 2022).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from evoens import noise
from evoens.masked import one_of
from evoens.masks import Bools, lowest
from evoens.methods.base import Baseline, Fitted
from evoens.methods.setting import Setting, divided, fraction, whole
from evoens.progress import OnProgress
from evoens.tasks.lesson import Masks
from evoens.tasks.masking import Masking, forget, numbers

GROWTH = ("gradient", "random")


@dataclass(frozen=True)
class Updates:
    """When weights are dropped and grown, and how many.

    Attributes:
        phases: the steps at which phases begin, the first one 0, and at last how many steps there are.
        every: the steps between two updates.
        first: the share that is dropped where a phase begins; it falls to 0 along half a cosine until that ends.
        escapes: steps of updates that leave a basin.
        escape: the share that is dropped there.
    """

    phases: Sequence[int]
    every: int = 100
    first: float = 0.5
    escapes: Collection[int] = ()
    escape: float = 0.8

    def share(self, step: int) -> float:
        """Return the share of a layer's weights that is dropped at `step`, from 0 on; mostly none."""
        if step in self.escapes:
            return self.escape
        if step == 0 or step % self.every or step >= self.phases[-1]:
            return 0.0
        phase = bisect_right(self.phases, step)
        begins, ends = self.phases[phase - 1 : phase + 1]
        return self.first / 2 * (1 + math.cos(math.pi * (step - begins) / (ends - begins)))


class DST(Baseline):
    """Networks that are sparse from their first step to their last, each trained with its part of the budget.

    Args:
        members: how many there are.
        density: the share of the weights of convolutions and linear layers that each has.
        every: the steps between two updates of which weights these are.
        grow: "gradient" grows weights where the gradient is largest, "random" anywhere.
    """

    name = "dst"

    def __init__(self, members: int = 4, density: float = 0.2, every: int = 100, grow: str = "gradient") -> None:
        self.members, self.masks = whole("members", members), DynamicMasks(density, every, grow)

    def require(self, epochs: int) -> None:
        """See `Baseline.require`."""
        divided("members", self.members, epochs)

    def fit(self, setting: Setting, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Baseline.fit`."""
        epochs = divided("members", self.members, setting.epochs)
        trained = [setting.train(on_progress, i, epochs=epochs, masks=self.masks) for i in range(self.members)]
        return Fitted.of(setting.networks([one.weights for one in trained]), trained)


@dataclass(frozen=True)
class DynamicMasks(Masks):
    """Masks of a density that change while a network is trained; the arguments are those of `DST`."""

    density: float
    every: int
    grow: str

    def __post_init__(self) -> None:
        """Check the arguments.

        Raises:
            SpecError: one is out of range.
        """
        fraction("density", self.density)
        whole("every", self.every)
        one_of("grow", self.grow, GROWTH)

    def updates(self, steps: int) -> Updates:
        """Return when they change in a training of so many steps."""
        return Updates([0, steps], self.every)

    def masking(
        self, weights: Mapping[str, nn.Parameter], optimiser: torch.optim.Optimizer, steps: int, seed: int
    ) -> Masking:
        """See `Masks.masking`: sparse are the weights of two or more dimensions."""
        sparse = {name: weight for name, weight in weights.items() if weight.dim() > 1}
        return DynamicSparse(sparse, optimiser, self.density, self.updates(steps), seed=seed, grow=self.grow)

    def identity(self) -> dict[str, Any]:
        """See `Masks.identity`."""
        return asdict(self)


class DynamicSparse:
    """The masks of one training; see `evoens.tasks.masking.Masking`.

    Args:
        weights: the parameters that are sparse, by name; masked here and now.
        optimiser: whose state must forget what is dropped.
        density: the share of weights in the masks.
        updates: when they change.
        seed: of the first masks, and of what is grown at random.
        grow: `gradient` grows where the gradient of the step is largest (RigL), `random` anywhere (SET).
    """

    def __init__(
        self,
        weights: Mapping[str, nn.Parameter],
        optimiser: torch.optim.Optimizer,
        density: float,
        updates: Updates,
        *,
        seed: int,
        grow: str = "gradient",
    ) -> None:
        self.weights, self.optimiser, self.updates, self.seed = weights, optimiser, updates, seed
        self.grow = grow
        shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
        sizes = counts(shapes, density)
        self._shares = {name: count / weights[name].numel() for name, count in sizes.items()}
        self._masks = {
            name: self._numbers(name, lowest(self._drawn(name, "mask"), count)) for name, count in sizes.items()
        }
        self._step = 0
        self._hold()

    def before(self, progress: float, step: int) -> None:
        """Note which step begins: weights that are out are zero already."""
        self._step = step

    def after(self) -> None:
        """Update the masks where it is time, while the gradients of all weights are there; and mask these."""
        share = self.updates.share(self._step)
        if share:
            self._masks = {name: self._numbers(name, self._updated(name, share)) for name in self.weights}
            self._hold()
        for name, mask in self._masks.items():
            gradient = self.weights[name].grad
            if gradient is not None:
                gradient.mul_(mask)

    def finish(self) -> None:
        """Leave it at that: weights that are out are zero."""

    def shares(self) -> Mapping[str, float]:
        """See `Masking.shares`; that an update takes the gradients of all weights is left out, as by its authors."""
        return self._shares

    def checkpoint(self) -> dict[str, Tensor]:
        """Return the masks: a weight that has just grown is zero, too."""
        return {name: mask.bool() for name, mask in self._masks.items()}

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take up what `checkpoint` returned."""
        self._masks = {name: numbers(mask, self.weights[name]) for name, mask in tensors.items()}

    def _updated(self, name: str, share: float) -> Bools:
        """Return a mask as large, without the smallest weights of the one before: `share` of them are others."""
        weight, before = self.weights[name], self._masks[name].bool().cpu().numpy().ravel()
        size = int(before.sum())
        dropped = round(share * size)
        kept = lowest(np.where(before, -_sizes(weight), np.inf), size - dropped)
        if self.grow == "random" or weight.grad is None:
            scores = self._drawn(name, f"grow:{self._step}").astype(np.float32)
        else:
            scores = -_sizes(weight.grad)
        return kept | lowest(np.where(kept, np.inf, scores), dropped)

    def _drawn(self, name: str, what: str) -> NDArray[np.uint16]:
        return noise.words(self.seed, f"{what}:{name}", self.weights[name].numel())

    def _numbers(self, name: str, mask: Bools) -> Tensor:
        weight = self.weights[name]
        return numbers(torch.from_numpy(mask).view(weight.shape).to(weight.device), weight)

    def _hold(self) -> None:
        for name, mask in self._masks.items():
            forget(self.weights[name], mask, self.optimiser)


def counts(shapes: Mapping[str, Sequence[int]], density: float) -> dict[str, int]:
    """Return how many weights each layer has at its Erdős–Rényi-kernel density, to the nearest one; at least one."""
    densities = erdos_renyi_kernel(shapes, density)
    return {name: max(1, round(densities[name] * math.prod(shape))) for name, shape in shapes.items()}


def erdos_renyi_kernel(shapes: Mapping[str, Sequence[int]], density: float) -> dict[str, float]:
    """Return each layer's density, `ε · (n_out + n_in + h + w) / (n_out · n_in · h · w)` (Evci et al. 2020, 3.1).

    Layers for which that is more than 1 are dense, and ε is such that all together have the `density`.

    Args:
        shapes: of the weights, `(out, in, h, w)` or `(out, in)`, by name.
        density: of all weights, above 0 and at most 1.
    """
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    raw = {name: sum(shape) / sizes[name] for name, shape in shapes.items()}
    dense = set[str]()
    while len(dense) < len(shapes):
        sparse = {name: value for name, value in raw.items() if name not in dense}
        left = density * sum(sizes.values()) - sum(sizes[name] for name in dense)
        epsilon = left / sum(value * sizes[name] for name, value in sparse.items())
        highest = max(sparse.values())
        if epsilon * highest <= 1:
            return {name: 1.0 if name in dense else epsilon * raw[name] for name in shapes}
        dense |= {name for name, value in sparse.items() if value == highest}
    return dict.fromkeys(shapes, 1.0)


def _sizes(values: Tensor) -> NDArray[np.float32]:
    sizes: NDArray[np.float32] = values.detach().abs().float().cpu().numpy().ravel()
    return sizes
