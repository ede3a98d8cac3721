"""The IMPALA network for 64 × 64 game frames (Espeholt et al. 2018), in the shape OpenAI used for Procgen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from evoens.tasks.networks.fused import Convolution, available, max_pool

ACTIONS = 15
SIDE = 64


class Residual(nn.Module):
    """relu → conv → relu → conv, added to the input: `(n, c, h, w)` → the same shape.

    Once fused, the input is overwritten by the output, and there are no gradients.
    """

    fused: tuple[Convolution, Convolution] | None = None

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(width, width, 3, padding=1)
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Keep the shape."""
        if self.fused:
            return self.fused[1].add_(x, self.fused[0].relu(F.relu(x)))
        inner = F.relu_(self.conv0(F.relu(x)))
        return self.conv1(inner).add_(x)  # type: ignore[no-any-return]

    def fuse(self) -> None:
        """See `evoens.parent.Fusible`."""
        if available(self.conv0.weight.dtype):
            self.fused = Convolution(self.conv0), Convolution(self.conv1)


class Block(nn.Module):
    """conv → max pool 3 / 2 → two residuals: `(n, in, h, w)` → `(n, out, ⌈h/2⌉, ⌈w/2⌉)`.

    Once fused, sides are even and there are no gradients.
    """

    fused: Convolution | None = None

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.res0 = Residual(outputs)
        self.res1 = Residual(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Halve the side, change the width."""
        pooled = max_pool(self.fused(x)) if self.fused else F.max_pool2d(self.conv(x), 3, 2, 1)
        return self.res1(self.res0(pooled))  # type: ignore[no-any-return]

    def fuse(self) -> None:
        """See `evoens.parent.Fusible`."""
        if available(self.conv.weight.dtype):
            self.fused = Convolution(self.conv)


class Impala(nn.Module):
    """Frames to features.

    Starts as OpenAI's TensorFlow network did: Glorot-uniform weights, zero biases.

    Args:
        in_channels: 3 × the number of stacked frames.
        widths: channels of the blocks; each block halves the side.
        features: length of the output.
    """

    def __init__(self, in_channels: int, widths: Sequence[int], features: int = 256) -> None:
        super().__init__()
        pairs = zip([in_channels, *widths[:-1]], widths, strict=True)
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in pairs))
        self.features = features
        side = -(-SIDE // 2 ** len(widths))
        self.linear = nn.Linear(widths[-1] * side * side, features)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.constant_(cast(Tensor, module.bias), 0.0)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, in_channels, 64, 64)` floats in [0, 1] → `(n, features)`, none negative."""
        x = F.relu_(self.blocks(x))
        return F.relu_(self.linear(x.flatten(1)))


class ImpalaPolicy(nn.Module):
    """Frames to action logits: the network a child is made of.

    Fastest in `channels_last`: frames that lie in memory as `(n, 64, 64, c)`, viewed as `(n, c, 64, 64)`, stay so.

    Args:
        widths: channels of the blocks.
        in_channels: 3 × the number of stacked frames, the oldest first.
        actions: how many logits.
    """

    def __init__(self, widths: Sequence[int], in_channels: int, actions: int = ACTIONS) -> None:
        super().__init__()
        self.trunk = Impala(in_channels, widths)
        self.head = nn.Linear(self.trunk.features, actions)

    def forward(self, frames: Tensor) -> Tensor:
        """`(n, in_channels, 64, 64)` bytes (0 to 255) → `(n, actions)` logits."""
        first = cast(Block, self.trunk.blocks[0])
        return self.head(self.trunk(frames.to(first.conv.weight.dtype) / 255))  # type: ignore[no-any-return]
