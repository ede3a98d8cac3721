"""Dropout: a network that is trained with it, and used without (Srivastava et al. 2014)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from evoens.errors import SpecError
from evoens.methods.base import Baseline, Fitted
from evoens.methods.setting import Setting, fraction
from evoens.network.wrapper import Wrapper
from evoens.parent import PERTURBED
from evoens.progress import OnProgress


class Dropout(Baseline):
    """One network, trained with dropout: the mean of very many, all of one set of weights.

    Args:
        rate: the share of activations that is dropped in training.
    """

    name = "dropout"

    def __init__(self, rate: float = 0.5) -> None:
        self.rate = fraction("rate", rate)

    def fit(self, setting: Setting, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Baseline.fit`."""
        one = setting.train(on_progress, wrapper=dropping(self.rate))
        return Fitted.of(setting.networks([one.weights]), [one])


def dropping(rate: float) -> Wrapper:
    """Return what has a network trained with dropout; its tensors keep their names."""
    return Wrapper("evoens.methods.dropout:with_dropout", {"rate": rate})


def with_dropout(network: nn.Module, rate: float) -> nn.Module:
    """Have a network drop activations while it trains, and change no name of its tensors; return it.

    Where its author has put dropout layers, these have the rate. Else it is dropped what every convolution and linear
    layer is given but the first, which is what all hidden layers give.

    Raises:
        SpecError: it has no hidden layer.
    """
    own = [layer for layer in network.modules() if isinstance(layer, _DropoutNd)]
    for dropout in own:
        dropout.p = rate
    if own:
        return network
    after = [layer for layer in network.modules() if isinstance(layer, PERTURBED)][1:]
    if not after:
        raise SpecError(f"expected a network with a hidden layer, found {type(network).__name__}")
    for layer in after:
        layer.register_forward_pre_hook(_Dropped(rate))
    return network


def layers_that_drop(network: nn.Module) -> list[nn.Module]:
    """Return the layers of a network with dropout whose `training` says whether they drop."""
    return [
        layer
        for layer in network.modules()
        if isinstance(layer, _DropoutNd) or any(isinstance(h, _Dropped) for h in layer._forward_pre_hooks.values())
    ]


class _Dropped:
    """Drops some of what a layer is given."""

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def __call__(self, layer: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
        return (F.dropout(given[0], self.rate, layer.training), *given[1:])
