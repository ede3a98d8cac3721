from random import Random

from torch import Tensor

from evoens import noise
from evoens.genome import Gene, Genome
from evoens.strategy import Strategy


class Broken(Strategy):
    """Asks for genes that touch every tensor."""

    def ask(self, n: int, rng: Random) -> list[Genome]:
        return [Genome((Gene(rng.getrandbits(63), self.sigma),)) for _ in range(n)]

    def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
        return weight + gene.scale * noise.normals(gene.seed, name, weight.shape)
