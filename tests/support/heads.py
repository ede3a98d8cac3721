"""A network with several members inside, as simple as can be."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Heads(nn.Module):
    """Several heads on one trunk, each given the batch in an order of its own; not twice the same in one training."""

    def __init__(self, network: nn.Module, members: int) -> None:
        super().__init__()
        self.network = network
        self.heads = nn.ModuleList(nn.Linear(10, 10) for _ in range(members))

    def forward(self, x: Tensor) -> Tensor:
        inside = self.network(x)
        return torch.stack([head(inside) for head in self.heads])

    def training_batch(self, x: Tensor, y: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        order = torch.randperm(len(x), generator=generator)
        return x[order], y[order].expand(len(self.heads), -1)

    def undecayed(self) -> list[str]:
        return ["heads.0.bias"]
