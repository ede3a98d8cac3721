"""Children that break, each in its own way."""

from __future__ import annotations

import torch
from evoens_strategies.noisy import Noisy
from torch import Tensor

from evoens.genome import Gene


class Faulty(Noisy):
    """Breaks on genes of the seeds 1 to 5."""

    def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
        if gene.seed == 1:
            raise RuntimeError("this gene is broken")
        if gene.seed == 2:
            return torch.full_like(weight, torch.nan)
        if gene.seed == 3:
            return torch.zeros(1)
        if gene.seed == 4:
            raise KeyboardInterrupt
        if gene.seed == 5:
            raise StopIteration
        return super().perturb(name, weight, gene)
