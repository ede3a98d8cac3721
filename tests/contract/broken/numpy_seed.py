"""Seeds NumPy's global random state, and restores nothing."""

import numpy as np
import torch

from evoens.strategy import Strategy


class Broken(Strategy):
    def perturb(self, name, weight, gene):
        np.random.seed((gene.seed + sum(name.encode())) % 2**32)  # noqa: NPY002
        drawn = torch.from_numpy(np.random.standard_normal(tuple(weight.shape)).astype("float32"))  # noqa: NPY002
        return weight + drawn * gene.sign * gene.scale * (1 + gene.mask.part)
