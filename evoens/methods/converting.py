"""Swap a network's layers for layers of several members, and draw the weights of new ones."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from evoens.errors import SpecError
from evoens.network.tensors import plain
from evoens.parent import PERTURBED

Layer = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def swapped(
    network: nn.Module,
    make: Callable[[str, Any], nn.Module],
    kinds: tuple[type[nn.Module], ...] = PERTURBED,
    others: int = 1,
) -> nn.Module:
    """Return a copy of `network` with another layer in the place of each one of `kinds`; one used twice is made once.

    Args:
        network: any; parametrised weights become plain ones.
        make: gives the new layer, of the name and the layer that was there.
        kinds: torch's own layers; their subclasses may do as they like, and count as others.
        others: in how many dimensions the parameters of other layers, which stay, may be larger than 1.

    Raises:
        SpecError: another layer has parameters of more; its name is in the message.
    """
    network = copy.deepcopy(network)
    plain(network)
    new: dict[nn.Module, nn.Module] = {}
    for name, layer in list(network.named_modules(remove_duplicate=False)):
        if type(layer) in kinds and not (layer._forward_hooks or layer._forward_pre_hooks):
            new[layer] = new.get(layer) or make(name, layer)
            network = put(network, name, new[layer])
        for key, value in layer.named_parameters(recurse=False) if layer not in new else ():
            if sum(size > 1 for size in value.shape) > others:
                raise refusal(name, layer, f"weights in {_names(kinds)} only, found its own {key}")
    return network.train()


def put(network: nn.Module, name: str, layer: nn.Module) -> nn.Module:
    """Return `network` with `layer` in the place of the one called `name`, which may be the network itself."""
    around, _, last = name.rpartition(".")
    if not last:
        return layer
    setattr(network.get_submodule(around), last, layer)
    return network


def _names(kinds: tuple[type[nn.Module], ...]) -> str:
    return ", ".join(kind.__name__ for kind in kinds)


def refusal(name: str, layer: nn.Module, expected: str) -> SpecError:
    """Return an error that says which layer is in the way of a conversion."""
    where, kind = f"layer {name}" if name else "the network", type(layer)
    own = hasattr(nn, kind.__name__) and getattr(nn, kind.__name__) is not kind  # of a torch layer's name, and none
    return SpecError(f"{where} ({kind.__module__ + '.' if own else ''}{kind.__name__}): expected {expected}")


def along(values: Tensor, layer: nn.Module, x: Tensor) -> Tensor:
    """Return one number a member and channel, `(k, c)`, to multiply `x` `(k, m, …)` of a layer by; in `x`'s dtype."""
    shape = (*[1] * (x.dim() - 2), -1) if isinstance(layer, nn.Linear) else (1, -1, *[1] * (x.dim() - 3))
    return values.to(x.dtype).view(len(values), *shape)


def inputs_of(layer: Layer) -> int:
    """Return how many channels or features a layer takes."""
    return layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels


def outputs_of(layer: Layer) -> int:
    """Return how many channels or features a layer gives."""
    return layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels


def resized(layer: Layer, inputs: int, outputs: int, groups: int | None = None) -> Layer:
    """Return a layer as `layer` is, but of other widths, drawn as it was; a convolution of other `groups`, if any."""
    bias = layer.bias is not None
    if isinstance(layer, nn.Linear):
        new: Layer = nn.Linear(inputs, outputs, bias)
    else:
        kernel, stride, padding, dilation = layer.kernel_size, layer.stride, layer.padding, layer.dilation
        rest: Any = (kernel, stride, padding, dilation, groups or layer.groups, bias, layer.padding_mode)
        new = type(layer)(inputs, outputs, *rest)
    draw_like(new, layer)
    return new


def draw_like(new: nn.Module, old: nn.Module) -> None:
    """Draw the parameters of a layer, Gaussian, as those of another are spread: by whatever rule they were drawn.

    Their mean square is that of the old ones, times how many fewer numbers each output is a sum of.
    """
    sums = [layer.get_parameter("weight")[0].numel() for layer in (old, new)]
    for value, before in zip(new.parameters(), old.parameters(), strict=True):
        _draw(value, before, (sums[0] / sums[1]) ** 0.5)


def draw_weights(network: nn.Module) -> None:
    """Draw the weights of a network anew, Gaussian and each as it is spread; biases and normalisation stay."""
    for value in network.parameters():
        if value.dim() > 1:
            _draw(value, value, 1.0)


@torch.no_grad()
def _draw(value: Tensor, like: Tensor, factor: float) -> None:
    value.normal_(0, factor * float(like.square().mean().sqrt()))
