"""Monte Carlo dropout: a network asked several times, dropout active (Gal & Ghahramani 2016)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from evoens.methods.base import Baseline, Fitted
from evoens.methods.dropout import dropping, layers_that_drop, with_dropout
from evoens.methods.setting import Setting, fraction, whole
from evoens.network.wrapper import Wrapper
from evoens.progress import OnProgress
from evoens.tasks.sgd import seeded


class MCDropout(Baseline):
    """The network of `dropout`, and the mean probabilities of several passes through it.

    Args:
        rate: the share of activations that is dropped, in training and in every pass.
        passes: how many there are.
    """

    name = "mc_dropout"

    def __init__(self, rate: float = 0.5, passes: int = 30) -> None:
        self.rate, self.passes = fraction("rate", rate), whole("passes", passes)

    def fit(self, setting: Setting, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Baseline.fit`."""
        one = setting.train(on_progress, wrapper=dropping(self.rate))
        inside = {f"network.{name}": value for name, value in one.weights.items()}
        arguments = {"rate": self.rate, "passes": self.passes, "seed": setting.config.seed}
        return Fitted.of(setting.networks([inside], Wrapper("evoens.methods.mc_dropout:Passes", arguments)), [one])


class Passes(nn.Module):
    """Several passes through a network with dropout active: `(n, *input)` to logits `(passes, n, c)`.

    The same inputs in the same batch give the same answers: what is dropped is drawn from the seed.

    Args:
        network: is given dropout.
        rate: of it.
        passes: how many.
        seed: of what is dropped.
    """

    def __init__(self, network: nn.Module, rate: float, passes: int, seed: int = 0) -> None:
        super().__init__()
        self.network, self.passes, self.seed = with_dropout(network, rate), passes, seed

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of every pass."""
        for layer in layers_that_drop(self.network):
            layer.training = True
        with seeded(f"passes:{self.seed}"):
            return torch.stack([self.network(x) for _ in range(self.passes)])
