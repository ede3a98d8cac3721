"""MIMO (Havasi et al. 2021): one network that looks at several images at once, and answers for each."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn

from evoens.errors import SpecError
from evoens.graph.ends import first_layers, last_layer, traced
from evoens.methods.converting import inputs_of, outputs_of, put, refusal, resized
from evoens.methods.joint import Batch, Joint, apart
from evoens.methods.one_network import OneNetwork
from evoens.methods.setting import whole
from evoens.network.tensors import plain
from evoens.parent import PERTURBED


class MIMO(OneNetwork):
    """One network that takes several images at a time, each for another member.

    Args:
        members: how many there are.
        repetitions: how often a batch has each of its images; an epoch costs as much as so many of one network.
        equal: the share of a batch in which all members get the same image.
    """

    name = "mimo"

    def __init__(self, members: int = 3, repetitions: int = 4, equal: float = 0.0) -> None:
        whole("members", members)
        _check(repetitions, equal)
        target = "evoens.methods.mimo:MIMONetwork"
        super().__init__(target, members=members, repetitions=repetitions, equal=equal)


class MIMONetwork(Joint):
    """A network that takes `k` images side by side in its channels, and has `k` heads; all between is shared.

    The layers that take the images and the one that gives the logits are wider and drawn anew. In training each member
    gets images in an order of its own, at last it is asked about the same image as the others.

    Args:
        network: any that torch.fx can trace, whose first and last layers are convolutions or linear.
        members: k.
        repetitions: how often a batch has each of its images.
        equal: the share of a batch in which all members get the same image.

    Raises:
        SpecError: the network is no such one, the message names the layer; or an argument is out of range.
    """

    def __init__(self, network: nn.Module, members: int = 3, repetitions: int = 4, equal: float = 0.0) -> None:
        super().__init__(members)
        _check(repetitions, equal)
        self.repetitions, self.equal = repetitions, equal
        self.network = _widened(network, members)

    def forward(self, x: Tensor) -> Tensor:
        """See `Joint.forward`."""
        outputs = self.network(torch.cat(self.given(x), 1))
        return torch.unflatten(outputs, 1, (self.members, -1)).transpose(0, 1)

    def training_batch(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Batch:
        """See `Joint.training_batch`; `m` is `n · repetitions`."""
        order = torch.randperm(len(x), generator=generator).repeat(self.repetitions)
        own = len(order) - round(self.equal * len(order))
        orders = [
            torch.cat([order[:own][torch.randperm(own, generator=generator)], order[own:]]) for _ in range(self.members)
        ]
        return apart(x, y, torch.stack(orders))


def _check(repetitions: int, equal: float) -> None:
    whole("repetitions", repetitions)
    if not 0 <= equal <= 1:
        raise SpecError(f"equal: expected a share between 0 and 1, found {equal}", ("equal",))


def _widened(network: nn.Module, members: int) -> nn.Module:
    network = copy.deepcopy(network)
    plain(network)
    graph = traced(network)
    first, last = first_layers(network, graph), last_layer(network, graph)
    for name in dict.fromkeys([*first, last]):
        layer: Any = network.get_submodule(name)
        if type(layer) not in PERTURBED:
            raise refusal(name, layer, "a convolution or linear layer, since it takes the inputs or gives the logits")
        inputs, outputs = inputs_of(layer), outputs_of(layer)
        if name == last and outputs == 1:
            raise refusal(name, layer, "a logit for each class, found one for two")
        new = resized(layer, inputs * (members if name in first else 1), outputs * (members if name == last else 1))
        network = put(network, name, new)
    return network.train()
