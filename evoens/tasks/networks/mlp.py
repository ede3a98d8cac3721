"""The plain network of linear layers, for vectors and for small images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn


class MLP(nn.Module):
    """Linear layers with relu between them.

    Args:
        classes: how many logits.
        features: how many numbers an input has: channels · height · width.
        hidden: widths of the hidden layers; none for a linear classifier.
    """

    def __init__(self, classes: int, features: int, hidden: Sequence[int] = (256, 128)) -> None:
        super().__init__()
        widths = [features, *hidden]
        layers: list[nn.Module] = []
        for inputs, outputs in zip(widths, hidden, strict=False):
            layers += [nn.Linear(inputs, outputs), nn.ReLU(inplace=True)]
        self.layers = nn.Sequential(*layers, nn.Linear(widths[-1], classes))

    def forward(self, x: Tensor) -> Tensor:
        """`(n, *input)` with `features` numbers an input → logits `(n, classes)`."""
        return self.layers(x.flatten(1))  # type: ignore[no-any-return]
