"""Packed-Ensembles (Laurent et al. 2023): narrow networks, together about as large as one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from evoens.errors import SpecError
from evoens.graph.ends import first_layers, last_layer, traced
from evoens.methods.converting import NORMS, inputs_of, outputs_of, refusal, resized, swapped
from evoens.methods.joint import Joint
from evoens.methods.one_network import OneNetwork
from evoens.methods.setting import whole
from evoens.parent import PERTURBED


class Packed(OneNetwork):
    """Narrow networks, which together cost about as much as one.

    Args:
        members: how many there are.
        width: of all of them together, in widths of the network: 4 members of width 2 cost what it costs.
        groups: of the convolutions of each member.
    """

    name = "packed"

    def __init__(self, members: int = 4, width: float = 2.0, groups: int = 1) -> None:
        whole("members", members)
        _check(width, groups)
        super().__init__("evoens.methods.packed:PackedNetwork", members=members, width=width, groups=groups)


class PackedNetwork(Joint):
    """`k` networks, each `width / k` times as wide as `network`: the weights of all are `width² / k` times as many.

    So 4 of width 2, as published, cost what one network costs. All weights are drawn anew; every member learns every
    image, and a different beginning is all that tells them apart. The paper puts the members' layers side by side in
    one, by grouped convolutions, for the sake of a GPU; one after another they compute the same, and on a CPU sooner.

    Args:
        network: any that torch.fx can trace, of convolutions, linear layers and BatchNorm only.
        members: k; M in the paper.
        width: of all members together, in widths of the network; α in the paper.
        groups: of the convolutions of each member, but for those that take the inputs or give logits; γ in the paper.

    Raises:
        SpecError: another layer has parameters, or one's width is no whole number then; the message has its name.
    """

    def __init__(self, network: nn.Module, members: int = 4, width: float = 2.0, groups: int = 1) -> None:
        super().__init__(members)
        _check(width, groups)
        graph = traced(network)
        first, last = first_layers(network, graph), last_layer(network, graph)
        narrow = partial(_narrow, width=width / members, groups=groups, first=first, last=last)
        kinds = (*PERTURBED, *NORMS)
        self.networks = nn.ModuleList(swapped(network, narrow, kinds, others=0) for _ in range(members))

    def forward(self, x: Tensor) -> Tensor:
        """See `Joint.forward`."""
        return torch.stack([network(part) for network, part in zip(self.networks, self.given(x), strict=True)])


def _check(width: float, groups: int) -> None:
    whole("groups", groups)
    if not width > 0:
        raise SpecError(f"width: expected a number > 0, found {width}", ("width",))


def _narrow(name: str, layer: Any, *, width: float, groups: int, first: Sequence[str], last: str) -> nn.Module:
    """Return a layer that is `width` times as wide as `layer`, but where inputs come in and logits out."""
    scaled = partial(_scaled, name, layer, width)
    if isinstance(layer, NORMS):
        return _norm(layer, scaled(layer.num_features))
    inputs = inputs_of(layer) if name in first else scaled(inputs_of(layer))
    outputs = outputs_of(layer) if name == last else scaled(outputs_of(layer))
    if isinstance(layer, nn.Linear):
        return resized(layer, inputs, outputs)
    parts = layer.groups
    if parts > 1:
        parts = inputs if parts == layer.in_channels else parts
    elif name not in first and name != last:
        parts = groups
    if inputs % parts or outputs % parts:
        raise refusal(name, layer, f"widths that {parts} groups divide, found {inputs} and {outputs} in each member")
    return resized(layer, inputs, outputs, parts)


def _scaled(name: str, layer: nn.Module, width: float, channels: int) -> int:
    if abs(channels * width - round(channels * width)) > 1e-6 or channels * width < 1:
        raise refusal(name, layer, f"a width that can be had {width:g} times, found {channels}")
    return round(channels * width)


def _norm(norm: Any, channels: int) -> nn.Module:
    new = type(norm)(channels, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    for value, before in zip(new.parameters(), norm.parameters(), strict=True):
        nn.init.constant_(value, float(before.detach().mean()))  # 1, or 0 where a block begins as nothing
    return new  # type: ignore[no-any-return]
