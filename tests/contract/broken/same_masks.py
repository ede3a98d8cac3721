from evoens_strategies.noisy import Noisy

from evoens import noise


class Broken(Noisy):
    """Draws its masks by the seed alone."""

    def train_mask(self, name, weight, gene, progress, step):
        return noise.keep(gene.mask, "mask", weight.shape)
