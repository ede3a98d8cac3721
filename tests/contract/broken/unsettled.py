from evoens_strategies.noisy import Noisy

from evoens import noise


class Broken(Noisy):
    """Its masks go on changing, and it does not say so."""

    def train_mask(self, name, weight, gene, progress, step):
        return noise.normals(gene.seed + step, name, weight.shape) > 0
