"""What a forward pass costs, in floating-point operations."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


def flops(module: nn.Module, shape: Sequence[int]) -> int:
    """Return the floating-point operations of one forward pass of one input: two for each multiply-add.

    Convolutions, matrix products, attention and recurrent layers count; biases, normalisation and activations do not.
    Counted in eval mode, on a copy, with an input of zeros; a module that is already fused hides its operations, so
    count before.

    Args:
        module: any network, wherever it is.
        shape: of one input, without the batch: (channels, height, width) for images.
    """
    # attention as plain matrix products: fused it may be one operation that the counter does not know
    network = copy.deepcopy(module).eval().requires_grad_(True)
    some = next(network.parameters(), torch.empty(0))
    plain = sdpa_kernel(SDPBackend.MATH)
    fused = {torch.ops.aten.mkldnn_rnn_layer: _recurrent}  # an LSTM on a CPU; others are products
    with torch.enable_grad(), plain, FlopCounterMode(display=False, custom_mapping=fused) as counter:
        network(torch.zeros(1, *shape, dtype=some.dtype, device=some.device))
    return int(counter.get_total_flops())


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
