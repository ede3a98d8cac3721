import torch
from torch import Tensor

from evoens import noise
from evoens.genome import Gene
from evoens.strategy import Strategy


class Broken(Strategy):
    """Masks by name, noise by shape."""

    def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
        step = gene.sign * gene.scale * noise.normals(gene.seed, str(tuple(weight.shape)), weight.shape)
        assert gene.mask is not None
        return torch.where(noise.keep(gene.mask, name, weight.shape), weight + step, weight)
