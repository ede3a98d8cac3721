"""From bytes to what a network takes: the same bits as torchvision's."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from evoens.errors import ShapeError


class Normalise:
    """Bytes `(n, c, h, w)` to float32 `(x/255 − mean)/std`, on the images' device.

    The same bits as torchvision's `ToTensor` and `Normalize`.

    Args:
        mean: one number a channel.
        std: one number a channel, above zero.
        layout: of the result in memory.
    """

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], layout: torch.memory_format = torch.channels_last
    ) -> None:
        self.mean, self.std, self.layout = tuple(mean), tuple(std), layout
        self._rows: dict[tuple[int, torch.device], tuple[Tensor, Tensor]] = {}

    def __call__(self, images: Tensor) -> Tensor:
        """Return `images` `(n, c, h, w)` uint8 as the network takes them.

        Raises:
            ShapeError: there are not as many channels as means.
        """
        n, channels, height, width = images.shape
        if channels != len(self.mean):
            raise ShapeError(f"expected images of {len(self.mean)} channels, found {channels}")
        mean, std = self._row(width, images.device)
        rows = images.permute(0, 2, 3, 1).reshape(n * height, width * channels).to(torch.float32)
        rows.div_(255).sub_(mean).div_(std)
        found = rows.view(n, height, width, channels).permute(0, 3, 1, 2)
        return found if self.layout == torch.channels_last else found.contiguous(memory_format=self.layout)

    def laid_out(self, layout: torch.memory_format) -> Normalise:
        """Return the same with another layout of its results."""
        return Normalise(self.mean, self.std, layout)

    def _row(self, width: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and deviation for a whole row of pixels: three at a time would cost four times as much."""
        if (width, device) not in self._rows:
            mean, std = (
                torch.tensor(v, dtype=torch.float32, device=device).repeat(width) for v in (self.mean, self.std)
            )
            self._rows[width, device] = mean, std
        return self._rows[width, device]
