"""Residual networks for small images (He et al. 2016, section 4.2): a 3 × 3 stem, no max pool.

Tensors have the names that torchvision gives them, so weights can be taken from there and brought there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from evoens.tasks.networks.fused import Convolution, available


class Padding(nn.Module):
    """Every `stride`-th pixel, and channels of zeros after the others, `times` as many in all (option A)."""

    def __init__(self, stride: int, times: int) -> None:
        super().__init__()
        self.stride, self.times = stride, times

    def forward(self, x: Tensor) -> Tensor:
        """`(n, c, h, w)` → `(n, c · times, ⌈h/stride⌉, ⌈w/stride⌉)`."""
        zeros = x.shape[1] * (self.times - 1)  # whatever the width is, which others may change
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, zeros))


def shortcut(inputs: int, outputs: int, stride: int, projection: bool) -> nn.Module:
    """Return what leads round a block: nothing where shapes agree, else a projection (option B) or padding (A)."""
    if stride == 1 and inputs == outputs:
        return nn.Identity()
    if not projection:
        return Padding(stride, outputs // inputs)
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class BasicBlock(nn.Module):
    """conv → bn → relu → conv → bn, added to the shortcut, relu: `(n, in, h, w)` → `(n, out, ⌈h/s⌉, ⌈w/s⌉)`.

    Once fused, where there is nothing on the shortcut the input is overwritten by the output, and there are no
    gradients.
    """

    fused: tuple[Convolution, Convolution, Callable[[Tensor], Tensor]] | None = None

    def __init__(self, inputs: int, outputs: int, stride: int = 1, projection: bool = True) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample = shortcut(inputs, outputs, stride, projection)

    def forward(self, x: Tensor) -> Tensor:
        """Divide the side by the stride, change the width."""
        if self.fused:
            first, second, beside = self.fused
            return F.relu_(second.add_(beside(x), first.relu(x)))
        inner = F.relu_(self.bn1(self.conv1(x)))
        return F.relu_(self.bn2(self.conv2(inner)).add_(self.downsample(x)))

    def fuse(self) -> None:
        """See `evoens.parent.Fusible`; the normalisation becomes part of the convolution before it."""
        if available(self.conv1.weight.dtype):
            beside = self.downsample
            self.fused = (
                Convolution(fuse_conv_bn_eval(self.conv1, self.bn1)),
                Convolution(fuse_conv_bn_eval(self.conv2, self.bn2)),
                Convolution(fuse_conv_bn_eval(*beside)) if isinstance(beside, nn.Sequential) else beside,
            )


class ResNet(nn.Module):
    """Images of any size to logits.

    ResNet-18 as it is used on CIFAR has blocks (2, 2, 2, 2) and width 64: 11 173 962 weights for ten classes.
    ResNet-56 of the paper has blocks (9, 9, 9), width 16 and no projections (option A): 853 018.

    Args:
        classes: how many logits.
        channels: 3 for colour, 1 for grey.
        blocks: how many blocks a stage has; every stage but the first halves the side and doubles the width.
        width: of the first stage.
        projection: whether shortcuts that change the shape have weights (option B) or none (option A).
    """

    def __init__(
        self,
        classes: int,
        channels: int = 3,
        blocks: Sequence[int] = (2, 2, 2, 2),
        width: int = 64,
        projection: bool = True,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.stages = [f"layer{place}" for place, _ in enumerate(blocks, 1)]
        inputs, outputs, stride = width, width, 1
        for name, count in zip(self.stages, blocks, strict=True):
            first = BasicBlock(inputs, outputs, stride, projection)
            others = (BasicBlock(outputs, outputs) for _ in range(count - 1))
            self.add_module(name, nn.Sequential(first, *others))
            inputs, outputs, stride = outputs, 2 * outputs, 2
        self.fc = nn.Linear(inputs, classes)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, channels, h, w)` → logits `(n, classes)`."""
        x = F.relu_(self.bn1(self.conv1(x)))
        for name in self.stages:
            x = self.get_submodule(name)(x)
        return self.fc(x.mean((2, 3)))  # type: ignore[no-any-return]


def he_normal(network: nn.Module) -> None:
    """Draw the weights of all convolutions anew, so that gradients keep their size from layer to layer (He 2015)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
