"""BatchEnsemble (Wen et al. 2020): members that share every weight matrix but for two vectors each, of rank one."""

from __future__ import annotations

import copy
from collections.abc import Collection

import torch
from torch import Tensor, nn

from evoens.methods.converting import Layer, along, inputs_of, outputs_of, swapped
from evoens.methods.joint import Stacked
from evoens.methods.one_network import OneNetwork
from evoens.methods.setting import whole


class BatchEnsemble(OneNetwork):
    """One network whose members share every weight matrix, but for two vectors of each.

    A training batch is repeated: every member learns all of it, so an epoch costs as much as `members` of one network.
    Batches that are split among members, as in the paper, would cost one, and show each of them a share of the images.

    Args:
        members: how many there are.
    """

    name = "batch_ensemble"

    def __init__(self, members: int = 4) -> None:
        super().__init__("evoens.methods.batch_ensemble:BatchEnsembleNetwork", members=whole("members", members))


class RankOne(nn.Module):
    """A convolution or linear layer in `k` versions: `((x ∘ r_i) W) ∘ s_i + b_i`, so of weights `W ∘ (s_i r_iᵀ)`.

    r and s begin as random signs, b as the layer's bias. W is the layer's.

    Args:
        layer: any; it is copied.
        members: k.
    """

    def __init__(self, layer: Layer, members: int) -> None:
        super().__init__()
        bias = layer.bias
        self.layer = copy.deepcopy(layer)
        self.layer.bias = None
        self.r = nn.Parameter(_signs(members, inputs_of(layer)))
        self.s = nn.Parameter(_signs(members, outputs_of(layer)))
        self.bias = None if bias is None else nn.Parameter(bias.detach().repeat(members, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`(k · m, …)`, member by member, as the layer's."""
        shape = (len(self.r), -1)
        x = torch.unflatten(x, 0, shape)
        out = torch.unflatten(self.layer((x * along(self.r, self.layer, x)).flatten(0, 1)), 0, shape)
        out = out * along(self.s, self.layer, out)
        if self.bias is not None:
            out = out + along(self.bias, self.layer, out)
        return out.flatten(0, 1)


class BatchEnsembleNetwork(Stacked):
    """A network whose convolutions and linear layers are `RankOne`; its normalisation is shared by all members.

    Args:
        network: any whose weights are in convolutions and linear layers; they become the shared ones.
        members: k.

    Raises:
        SpecError: another layer has weights, or there are no members.
    """

    def __init__(self, network: nn.Module, members: int = 4) -> None:
        super().__init__(members)
        self.network = swapped(network, lambda _, layer: RankOne(layer, members))

    def undecayed(self) -> Collection[str]:
        """Return r and s of every layer, as in the paper."""
        layers = {name: layer for name, layer in self.named_modules() if isinstance(layer, RankOne)}
        return [f"{name}.{vector}" for name in layers for vector in ("r", "s")]


def _signs(members: int, width: int) -> Tensor:
    return torch.randint(2, (members, width)) * 2.0 - 1
