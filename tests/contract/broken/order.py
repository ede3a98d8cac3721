"""Draws by the tensor's position, as a list of tensors would be walked through."""

from evoens import noise
from evoens.strategy import Strategy


class Broken(Strategy):
    def __init__(self, sigma, density=0.5, parts=2):
        super().__init__(sigma, density, parts)
        self.places = {}

    def perturb(self, name, weight, gene):
        place = self.places.setdefault(name, len(self.places))
        return weight + noise.normals(gene.seed, str(place), weight.shape) * gene.sign * gene.scale * (
            1 + gene.mask.part
        )
