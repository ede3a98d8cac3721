from evoens_strategies.noisy import Noisy

from evoens import noise


class Broken(Noisy):
    """Its masks are numbers."""

    def train_mask(self, name, weight, gene, progress, step):
        return noise.keep(gene.mask, name, weight.shape).float()
