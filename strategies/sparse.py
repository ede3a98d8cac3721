"""Sparse subnetworks, prune and tune: a child is a part of its parent, and then trained (dissertation ch. 5)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from evoens import masks, noise
from evoens.errors import SpecError
from evoens.genome import Gene
from evoens.masked import Masked, one_of
from evoens.scope import touches


class Sparse(Masked):
    """`Ŵ = W∘M` and `W∘(1−M)` (eq. 5.1–5.3): what is pruned stays zero while the child is tuned.

    Args:
        density: the share of weights that a child keeps.
        parts: 1 for masks drawn for each child, 2 for masks and their anti-masks, k for k disjoint masks.
        structure: `unstructured`, `channels` (and neurons), or `2:4`; see `evoens.genome.Mask`.
        by: `random`, or `magnitude`, by which the largest |w| are kept, or channels of the largest L1 norm; their
            anti-mask keeps the smallest.
        pool: `layer` gives every layer the same share; `network` lets all weights stand for themselves: by magnitude
            one ranking goes over all layers, at random each weight has a draw of its own.
        output: whether the output layer is pruned too.
        rounds: in how many steps, of equally many weights, a child is pruned; 1 is at once, when it is born.
        over: the share of its training over which the rounds are spread, one at the beginning of each stretch.

    Raises:
        GenomeError: no mask is like that. SpecError: settings that do not go together.
    """

    def __init__(
        self,
        density: float = 0.5,
        parts: int = 2,
        *,
        structure: str = "unstructured",
        by: str = "random",
        pool: str = "layer",
        output: bool = False,
        rounds: int = 1,
        over: float = 0.5,
    ) -> None:
        drawn = "exact" if (structure, pool) == ("unstructured", "layer") else structure
        super().__init__(density, parts, structure=drawn, output=output)
        self.by, self.pool = one_of("by", by, ("random", "magnitude")), one_of("pool", pool, ("layer", "network"))
        ranked = by == "magnitude"
        if not 0 < over <= 1 or rounds < 1 or rounds % 1:
            raise SpecError(f"rounds, over: expected 1 or more, over a share of the training, found {rounds}, {over}")
        if pool == "network" and (structure != "unstructured" or rounds > 1 or (ranked and parts > 2)):
            raise SpecError("pool: expected layer with a structure, with rounds, and by magnitude with parts > 2")
        if rounds > 1 and (structure == "2:4" or (ranked and parts > 1)):
            raise SpecError("rounds: expected 1 with 2:4, and by magnitude with parts > 1")
        self.rounds, self.over, self.mask_fixed_from = rounds, over, over * (rounds - 1) / rounds

    def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
        """Return `W∘M`, the M of the first round."""
        return torch.where(self._mask(name, weight, gene, 0.0), weight, 0.0)

    def train_mask(self, name: str, weight: Tensor, gene: Gene, progress: float, step: int) -> Tensor:
        """Return the mask of the round: the same throughout where there is only one."""
        if self.by == "random":
            return self._mask(name, weight, gene, progress)
        left = weight != 0  # pruned at birth, or in an earlier round
        return left if self.rounds == 1 else left & self._mask(name, weight, gene, progress)

    def mask_valid_until(self, progress: float) -> float:
        """Return when the next round begins."""
        return next((start for start in self._starts() if start > progress), 1.0)

    def extra(self) -> tuple[tuple[str, float], ...]:
        """Return, for one ranking over all layers, the smallest |w| that a mask keeps: no gene could tell by itself."""
        if (self.pool, self.by) != ("network", "magnitude"):
            return ()
        if self.parent is None:
            raise SpecError("pool: expected a parent, whose weights are ranked, found none")
        scope = self.masked()
        pooled = [self.parent.weights[name].flatten() for name in self.parent.perturbed if touches(scope, name)]
        sizes = np.abs(torch.cat(pooled).cpu().numpy())
        place = sizes.size - max(1, round(self.density * sizes.size))
        return (("smallest", float(np.partition(sizes, place)[place])),)

    def _mask(self, name: str, weight: Tensor, gene: Gene, progress: float) -> Tensor:
        assert gene.mask is not None
        if gene.extra:
            smallest = dict(gene.extra)["smallest"]
            return weight.abs() < smallest if gene.mask.part else weight.abs() >= smallest
        done = sum(start <= progress for start in self._starts())
        share = None if done == self.rounds else 1 - (1 - gene.mask.share) * done / self.rounds
        if self.by == "magnitude":
            return masks.magnitude(gene.mask, weight, share)
        return noise.keep(gene.mask, name, weight.shape, weight.device, share)

    def _starts(self) -> list[float]:
        return [self.over * done / self.rounds for done in range(self.rounds)]
