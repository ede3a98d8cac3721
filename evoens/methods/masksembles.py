"""Masksembles (Durasov et al. 2021): members that are fixed, overlapping parts of one network's channels."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from evoens.errors import SpecError
from evoens.graph.ends import first_layers, traced
from evoens.methods.converting import Layer, along, inputs_of, swapped
from evoens.methods.joint import Batch, Stacked, apart
from evoens.methods.one_network import OneNetwork
from evoens.methods.setting import whole

TRIES = 10_000  # draws of a layer's masks before they have just the channels there are: some dozens do


class Masksembles(OneNetwork):
    """One network of which each member leaves out channels of its own, at every layer.

    In training each image goes through one member, as in the paper: the batch, which is in random order, is split.

    Args:
        members: how many there are.
        scale: how far their masks are apart, 1 or more; two have 1/`scale` of their channels in common.
    """

    name = "masksembles"

    def __init__(self, members: int = 4, scale: float = 2.0) -> None:
        whole("members", members)
        _check(scale)
        super().__init__("evoens.methods.masksembles:MasksemblesNetwork", members=members, scale=scale)


class MaskedInputs(nn.Module):
    """A convolution or linear layer of which each member sees some channels of the inputs, and zeros in the others.

    Args:
        layer: any; it is copied.
        masks: `(k, channels)`, of zeros and ones.
    """

    masks: Tensor

    def __init__(self, layer: Layer, masks: Tensor) -> None:
        super().__init__()
        self.layer = copy.deepcopy(layer)
        self.register_buffer("masks", masks)

    def forward(self, x: Tensor) -> Tensor:
        """`(k · m, …)`, member by member, as the layer's."""
        x = torch.unflatten(x, 0, (len(self.masks), -1))
        return self.layer((x * along(self.masks, self.layer, x)).flatten(0, 1))  # type: ignore[no-any-return]


class MasksemblesNetwork(Stacked):
    """A network in which every layer but those that take the inputs is masked (`MaskedInputs`); weights are shared.

    Args:
        network: any that torch.fx can trace, whose weights are in convolutions and linear layers.
        members: k.
        scale: two masks have 1/`scale` of their channels in common: 1 is one network.

    Raises:
        SpecError: another layer has weights, the message names it; or no masks are like that.
    """

    def __init__(self, network: nn.Module, members: int = 4, scale: float = 2.0) -> None:
        super().__init__(members)
        _check(scale)
        first = first_layers(network, traced(network))

        def masked(name: str, layer: Layer) -> nn.Module:
            """Mask what a layer takes, where it is not an image."""
            return layer if name in first else MaskedInputs(layer, draw_masks(inputs_of(layer), members, scale))

        self.network = swapped(network, masked)

    def training_batch(self, x: Tensor, y: Tensor, generator: torch.Generator) -> Batch:
        """See `Joint.training_batch`; `m` is `⌈n / k⌉`, and a few images come twice where that leaves a rest."""
        places = torch.arange(-(-len(x) // self.members) * self.members) % len(x)
        return apart(x, y, places.view(self.members, -1))


def _check(scale: float) -> None:
    if not scale >= 1:
        raise SpecError(f"scale: expected a number ≥ 1, found {scale}", ("scale",))


def draw_masks(channels: int, members: int, scale: float) -> Tensor:
    """Draw masks `(members, channels)` of zeros and ones: equally many ones in each, and no channel without any.

    As in the paper each has `ones` of `ones · scale` places at random, and places that no mask has are dropped; `ones`
    is such that `channels` are left on average, and it is drawn until they are.

    Raises:
        SpecError: so few channels cannot be had.
    """
    overlap = 1 - (1 - 1 / scale) ** members  # the share of places that some mask has
    ones = max(-(-channels // members), round(channels / (scale * overlap)))
    near = range(ones, int(ones * scale) + 2)
    total = min(near, key=lambda places: abs(places * (1 - (1 - ones / places) ** members) - channels))
    for _ in range(TRIES):
        masks = torch.zeros(members, total)
        for mask in masks:
            mask[torch.randperm(total)[:ones]] = 1
        used = masks.any(0)
        if int(used.sum()) == channels:
            return masks[:, used]
    raise SpecError(f"scale: expected masks of {channels} channels for {members} members, found none at {scale:g}")
