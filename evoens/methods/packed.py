"""Packed-Ensembles (Laurent et al. 2023): narrow networks side by side in one, by grouped convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from evoens.errors import SpecError
from evoens.graph.ends import first_layers, last_layer, traced
from evoens.methods.converting import NORMS, inputs_of, outputs_of, refusal, resized, swapped
from evoens.methods.joint import Stacked
from evoens.parent import PERTURBED


class Packed(Stacked):
    """`k` networks, each `width / k` times as wide as `network`: the weights of all are `width² / k` times as many.

    So 4 of width 2, as published, cost what one network costs. Each member's layers may be cut into `groups` in their
    turn, but for those that take the inputs or give the logits. All weights are drawn anew; every member learns every
    image, and a different beginning is all that tells them apart.

    Args:
        network: any that torch.fx can trace, of convolutions, linear layers and BatchNorm only.
        members: k; M in the paper.
        width: of all members together, in widths of the network; α in the paper.
        groups: of a member's layers; γ in the paper.

    Raises:
        SpecError: another layer has parameters, or one's width is no whole number then; the message has its name.
    """

    def __init__(self, network: nn.Module, members: int = 4, width: float = 2.0, groups: int = 1) -> None:
        super().__init__(members)
        for name, value in (("width", width), ("groups", groups)):
            if value <= 0:
                raise SpecError(f"{name}: expected more than 0, found {value}")
        graph = traced(network)
        first, last = first_layers(network, graph), last_layer(network, graph)
        make = partial(_packed, members=members, width=width / members, groups=groups, first=first, last=last)
        self.network = swapped(network, make, (*PERTURBED, *NORMS), others=0)


class Grouped(nn.Module):
    """A convolution or BatchNorm of all members' channels, side by side.

    Args:
        layer: takes `(m, k · c, …)`, and keeps each member's channels to themselves.
        members: k.
    """

    def __init__(self, layer: nn.Module, members: int) -> None:
        super().__init__()
        self.layer, self.members = layer, members

    def forward(self, x: Tensor) -> Tensor:
        """`(k · m, c, …)`, member by member, as each member's."""
        return beneath(self.layer(beside(x, self.members)), self.members)


class GroupedLinear(nn.Module):
    """A linear layer of all members, in one batched product.

    Args:
        layer: its rows are all members' output features, one member's after another's; its columns the inputs of each.
        members: k.
        groups: of each member: parts of its features that do not meet.
    """

    def __init__(self, layer: nn.Linear, members: int, groups: int) -> None:
        super().__init__()
        self.layer, self.members, self.groups = layer, members, groups

    def forward(self, x: Tensor) -> Tensor:
        """`(k · m, …, inputs)`, member by member, to `(k · m, …, outputs)`."""
        weight = self.layer.weight.view(self.members, self.groups, -1, self.layer.in_features)
        given = torch.unflatten(torch.unflatten(x, 0, (self.members, -1)), -1, (self.groups, -1))
        out = torch.einsum("km...gi,kgoi->km...go", given, weight).flatten(-2)
        if self.layer.bias is not None:
            out = out + self.layer.bias.view(self.members, *[1] * (out.dim() - 2), -1)
        return out.flatten(0, 1)


def beside(x: Tensor, members: int) -> Tensor:
    """Return members that lie in the batch, `(k · m, c, …)`, side by side in the channels, `(m, k · c, …)`."""
    return torch.unflatten(x, 0, (members, -1)).transpose(0, 1).flatten(1, 2)


def beneath(x: Tensor, members: int) -> Tensor:
    """Return what `beside` was given."""
    return torch.unflatten(x, 1, (members, -1)).transpose(0, 1).flatten(0, 1)


def _packed(
    name: str, layer: Any, *, members: int, width: float, groups: int, first: Sequence[str], last: str
) -> nn.Module:
    """Return a layer of all members; each is `width` times as wide as `layer`, but where inputs and logits are."""
    narrow = partial(_narrow, name, layer, width)
    if isinstance(layer, NORMS):
        return Grouped(_norm(layer, members * narrow(layer.num_features)), members)
    ends = name in first or name == last
    inputs = inputs_of(layer) if name in first else narrow(inputs_of(layer))
    outputs = outputs_of(layer) if name == last else narrow(outputs_of(layer))
    parts = 1 if ends else groups
    if isinstance(layer, nn.Linear):
        _divided(name, layer, inputs, outputs, parts)
        return GroupedLinear(cast(nn.Linear, resized(layer, inputs // parts, members * outputs)), members, parts)
    if layer.groups > 1:
        parts = inputs if layer.groups == layer.in_channels else layer.groups
    _divided(name, layer, inputs, outputs, parts)
    return Grouped(resized(layer, members * inputs, members * outputs, members * parts), members)


def _narrow(name: str, layer: nn.Module, width: float, channels: int) -> int:
    if abs(channels * width - round(channels * width)) > 1e-6 or channels * width < 1:
        raise refusal(name, layer, f"a width that can be had {width:g} times, found {channels}")
    return round(channels * width)


def _divided(name: str, layer: nn.Module, inputs: int, outputs: int, groups: int) -> None:
    if inputs % groups or outputs % groups:
        raise refusal(name, layer, f"widths that {groups} groups divide, found {inputs} and {outputs} in each member")


def _norm(norm: Any, channels: int) -> nn.Module:
    new = type(norm)(channels, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for value, before in zip(new.parameters(), norm.parameters(), strict=True):
        nn.init.constant_(value, float(before.detach().mean()))  # 1, or 0 at the end of a block that begins as nothing
    return new  # type: ignore[no-any-return]
