from torch import Tensor

from evoens import noise
from evoens.genome import Gene
from evoens.strategy import Strategy


class Broken(Strategy):
    """Noise as large as the tensor's spread."""

    def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
        mask = 1.0 if gene.mask is None else noise.keep(gene.mask, name, weight.shape)
        return weight + gene.sign * gene.scale * weight.std() * noise.normals(gene.seed, name, weight.shape) * mask
