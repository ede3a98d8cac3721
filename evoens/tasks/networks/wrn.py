"""Wide residual networks for small images (Zagoruyko & Komodakis 2016): normalisation and relu before convolutions."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from evoens.errors import SpecError
from evoens.tasks.networks.resnet import he_normal

STEM = 16
STAGES = 3


class WideBlock(nn.Module):
    """bn → relu → conv → bn → relu → dropout → conv, added: `(n, in, h, w)` → `(n, out, ⌈h/s⌉, ⌈w/s⌉)`.

    Where the width changes, what is added is a 1 × 1 convolution of the input after its relu, else the input itself.
    """

    def __init__(self, inputs: int, outputs: int, stride: int, dropout: float) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.dropout = nn.Dropout(dropout)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.shortcut = None if inputs == outputs else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Divide the side by the stride, change the width."""
        active = F.relu_(self.bn1(x))
        inner = self.dropout(F.relu_(self.bn2(self.conv1(active))))
        return self.conv2(inner).add_(x if self.shortcut is None else self.shortcut(active))  # type: ignore[no-any-return]


class WideResNet(nn.Module):
    """Images of any size to logits; WRN-28-10 has 36 479 194 weights for ten classes.

    Args:
        classes: how many logits.
        channels: 3 for colour, 1 for grey.
        depth: layers with weights on the longest way: 6 n + 4, for n blocks a stage.
        width: times the 16, 32 and 64 channels of the three stages.
        dropout: the share of a block's inner activations that is dropped in training.

    Raises:
        SpecError: no such depth.
    """

    def __init__(self, classes: int, channels: int = 3, depth: int = 28, width: int = 10, dropout: float = 0.0) -> None:
        super().__init__()
        blocks, rest = divmod(depth - 4, 2 * STAGES)
        if rest or blocks < 1:
            raise SpecError(f"WideResNet: expected a depth of 10, 16, 22, 28 and so on, found {depth}")
        self.conv1 = nn.Conv2d(channels, STEM, 3, padding=1, bias=False)
        stages, inputs = [], STEM
        for stage in range(STAGES):
            outputs, stride = STEM * width << stage, 2 if stage else 1
            first = WideBlock(inputs, outputs, stride, dropout)
            others = (WideBlock(outputs, outputs, 1, dropout) for _ in range(blocks - 1))
            stages.append(nn.Sequential(first, *others))
            inputs = outputs
        self.layer1, self.layer2, self.layer3 = stages
        self.bn = nn.BatchNorm2d(inputs)
        self.fc = nn.Linear(inputs, classes)
        he_normal(self)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, channels, h, w)` → logits `(n, classes)`."""
        x = self.layer3(self.layer2(self.layer1(self.conv1(x))))
        return self.fc(F.relu_(self.bn(x)).mean((2, 3)))  # type: ignore[no-any-return]
