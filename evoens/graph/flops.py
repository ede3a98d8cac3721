"""What a forward pass costs, in floating-point operations: in all, by weight, and of the weights that are not zero."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

_COUNTING = Lock()  # which kernel computes attention is a setting of the whole process


@dataclass(frozen=True)
class Operations:
    """The floating-point operations of a forward pass.

    Attributes:
        total: of all layers.
        by_weight: of the layers that have a `weight`, by its name.
    """

    total: int
    by_weight: Mapping[str, int]

    def at(self, shares: Mapping[str, float]) -> float:
        """Return what is left of them where only a share of some weights takes part, as where the others are zero."""
        return self.total - sum((1 - share) * self.by_weight.get(name, 0) for name, share in shares.items())


def operations(module: nn.Module, inputs: Tensor) -> Operations:
    """Return the floating-point operations of one forward pass of `inputs` `(n, *input)`: two for each multiply-add.

    Convolutions, matrix products, attention and recurrent layers count; biases, normalisation and activations do not.
    Counted in eval mode, on a copy; a module that is already fused hides its operations, so count before.
    """
    # attention as plain matrix products: fused it may be one operation that the counter does not know
    network = copy.deepcopy(module).eval().requires_grad_(True)
    fused = {torch.ops.aten.mkldnn_rnn_layer: _recurrent}  # an LSTM on a CPU; others are products
    plain, counted = sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False, custom_mapping=fused)
    with _COUNTING, plain, torch.enable_grad(), counted as counter:
        network(inputs)
    counts = {place: sum(found.values()) for place, found in counter.get_flop_counts().items()}
    return Operations(int(counter.get_total_flops()), dict(_weighted(network, counts)))


def _weighted(network: nn.Module, counts: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Yield the name of each layer's `weight`, and the operations of the layer; the counter begins at the class."""
    root = type(network).__name__
    for name, layer in network.named_modules():
        if isinstance(getattr(layer, "weight", None), nn.Parameter):
            place = f"{name}.weight" if name else "weight"
            yield place, counts.get(f"{root}.{name}" if name else root, 0)


def flops(module: nn.Module, shape: Sequence[int]) -> int:
    """Return the operations of one forward pass of one input, of zeros; see `operations`.

    Args:
        module: any network, wherever it is.
        shape: of one input, without the batch: (channels, height, width) for images.
    """
    return operations(module, _zeros(module, shape)).total


def nonzero_flops(module: nn.Module, shape: Sequence[int]) -> int:
    """Return the same without the multiply-adds of weights that are zero, as published for sparse networks."""
    weights = {name: value for name, value in module.named_parameters() if value.numel()}
    shares = {name: int(value.count_nonzero()) / value.numel() for name, value in weights.items()}
    return round(operations(module, _zeros(module, shape)).at(shares))


def _zeros(module: nn.Module, shape: Sequence[int]) -> Tensor:
    some = next(module.parameters(), torch.empty(0))
    return torch.zeros(1, *shape, dtype=some.dtype, device=some.device)


def _recurrent(inputs: Sequence[int], from_inputs: Sequence[int], from_units: Sequence[int], *_: Any, **__: Any) -> int:
    """One layer in one direction: at each step of inputs `(steps, n, features)` a product with either weight."""
    return 2 * inputs[0] * inputs[1] * (math.prod(from_inputs) + math.prod(from_units))


def affordable(effort: float, module: nn.Module, shape: Sequence[int], most: int) -> int:
    """Return how many inputs of `shape` go through the network with so many operations: at most `most`, maybe none.

    By the size of the network, not by the time that it takes, so that it is the same whatever the machine does.
    """
    with contextlib.suppress(Exception):  # whatever a network finds wrong with plain zeros
        return min(most, int(effort / flops(module, shape)))
    return most
