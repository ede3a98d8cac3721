"""LeNet for small images (after LeCun et al. 1998), in the three sizes of dissertation table 5.1."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from evoens.errors import ShapeError

WIDTHS = (16, 32, 256, 128)
SMALLEST = 16  # below it nothing is left after the second pool


class LeNet(nn.Module):
    """conv 5 × 5 → pool → conv 5 × 5 → pool → two hidden linear layers → logits; nothing is padded.

    Weights for ten classes of 32 × 32 colour images: 253 290 (S), 1 007 306 (M), 4 017 546 (L).

    Args:
        classes: how many logits.
        channels: 3 for colour, 1 for grey.
        side: of the images, which are square; 16 at least.
        width: times the widths (16, 32, 256, 128): 1 is LeNet-S, 2 is M, 4 is L.

    Raises:
        ShapeError: the images are too small.
    """

    def __init__(self, classes: int, channels: int = 3, side: int = 32, width: int = 4) -> None:
        super().__init__()
        if side < SMALLEST:
            raise ShapeError(f"LeNet: expected images of {SMALLEST} × {SMALLEST} or more, found {side} × {side}")
        a, b, c, d = (width * each for each in WIDTHS)
        left = (side - 12) // 4  # each convolution takes 4 off, each pool halves
        self.conv1 = nn.Conv2d(channels, a, 5)
        self.conv2 = nn.Conv2d(a, b, 5)
        self.fc1 = nn.Linear(b * left * left, c)
        self.fc2 = nn.Linear(c, d)
        self.fc3 = nn.Linear(d, classes)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, channels, side, side)` → logits `(n, classes)`."""
        x = F.relu_(F.max_pool2d(self.conv1(x), 2))  # relu and pool swap: a quarter of the work
        x = F.relu_(F.max_pool2d(self.conv2(x), 2))
        x = F.relu_(self.fc1(x.flatten(1)))
        return self.fc3(F.relu_(self.fc2(x)))  # type: ignore[no-any-return]
