"""Convolutions that take the next step too, in one oneDNN pass: the same function, fewer ways through memory.

For inference on a CPU, in `channels_last`; there are no gradients. Outputs agree with the plain ones to rounding:
oneDNN may choose another kernel for some shapes.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn


@cache
def available(dtype: torch.dtype) -> bool:
    """Whether this torch, on this CPU, has these passes in `dtype`, tried on a small convolution."""
    with torch.inference_mode():
        conv = nn.Conv2d(16, 16, 3, padding=1).to(dtype=dtype).to(memory_format=torch.channels_last)
        x = torch.rand(1, 16, 8, 8, dtype=dtype).contiguous(memory_format=torch.channels_last)
        try:
            return bool((conv_relu(conv, x).sum() + add_conv_(x.clone(), conv, x).sum()).isfinite())
        except (AttributeError, RuntimeError, TypeError):  # no oneDNN, no such precision, or another signature
            return False


def conv_relu(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Return `relu(conv(x))`."""
    done: Tensor = torch.ops.mkldnn._convolution_pointwise(x, *_arguments(conv), "relu", [], "")
    return done


def add_conv_(total: Tensor, conv: nn.Conv2d, x: Tensor) -> Tensor:
    """Add `conv(x)` to `total`, in place, and return it."""
    binary = torch.ops.mkldnn._convolution_pointwise_.binary
    done: Tensor = binary(total, x, *_arguments(conv), "add", 1.0, None, [], "")
    return done


def _arguments(conv: nn.Conv2d) -> tuple[Any, ...]:
    return conv.weight, conv.bias, conv.padding, conv.stride, conv.dilation, conv.groups
