"""Take out the channels and neurons that masks leave empty: the same outputs from fewer weights and operations."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from evoens.errors import EvoensError, ShapeError
from evoens.graph.cut import Tracer
from evoens.plugins.guest import guest

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
# What leaves each channel to itself, and a channel that is the same everywhere the same everywhere.
ELEMENTWISE: tuple[Any, ...] = (
    *(nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Hardswish, nn.ReLU6, nn.Tanh, nn.Sigmoid),
    *(nn.Identity, nn.Dropout, nn.Dropout2d),
    *(F.relu, F.relu_, torch.relu, F.leaky_relu, F.elu, F.gelu, F.silu, F.hardswish, F.relu6),
    *(torch.tanh, torch.sigmoid, "relu", "relu_", "tanh", "sigmoid", "contiguous"),
)
POOLS: tuple[Any, ...] = (
    *(nn.MaxPool2d, nn.AvgPool2d, nn.AdaptiveMaxPool2d, nn.AdaptiveAvgPool2d),
    *(F.max_pool2d, F.avg_pool2d, F.adaptive_max_pool2d, F.adaptive_avg_pool2d),
)
FLATTEN: tuple[Any, ...] = (nn.Flatten, torch.flatten, "flatten")
MEAN: tuple[Any, ...] = (torch.mean, "mean")


def shrink(module: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of `module` in eval mode, masked, without the channels and neurons that have no weights left.

    A channel without weights gives the same everywhere: its bias, through the normalisation and activation after it.
    What the next layers make of that becomes part of their bias; where they pad with zeros it ends at the border, so
    there one channel of ones stands for all that were taken out (`Bordered`). Outputs are the same but for rounding.

    Taken out are output channels of Conv2d and neurons of Linear layers from which every way leads through BatchNorm,
    activations, dropout, pooling, a mean over the pixels or a flattening into other such layers: all of LeNet and of an
    MLP but the classes, and the inner channels of residual blocks. Left as they are, zeros and all: what is added to or
    joined with another layer's output (the outer channels of residual blocks), grouped convolutions and what comes
    before them, layers that are called twice or are subclasses, and the last channel of a layer that has no other.

    Args:
        module: a network that torch.fx can trace; fused layers must not be fused yet.
        masks: where weights stay, by the names of the tensors; without any for a child whose weights are zero already.

    Raises:
        ShapeError: a mask of another shape, or of a tensor that is not there.
        EvoensError: torch.fx cannot trace the module.
    """
    small = copy.deepcopy(module).eval().requires_grad_(False)
    own = small.state_dict()
    for name, mask in masks.items():
        found = tuple(own[name].shape) if name in own else "no such tensor"
        if found != tuple(mask.shape):
            raise ShapeError(f"a mask of {name}: expected shape {found}, found {tuple(mask.shape)}")
        own[name].masked_fill_(~mask.bool(), 0)
    with guest("expected a network that torch.fx can trace, found one that it cannot", EvoensError):
        graph = _Tracer().trace(small)
    calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    calls.update(str(node.target).rpartition(".")[0] for node in graph.nodes if node.op == "get_attr")
    for node in graph.nodes:
        if node.op == "call_module" and calls[str(node.target)] == 1:
            _take_out(small, node, calls)
    return small


class Bordered(nn.Module):
    """A convolution with one more input channel, of ones, which its zero padding ends at the border.

    Args:
        conv: of the other channels.
        border: the weights of the channel of ones, `(out, 1, height, width)`.
    """

    def __init__(self, conv: nn.Conv2d, border: Tensor) -> None:
        super().__init__()
        self.conv, self.border = conv, nn.Parameter(border, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, in, h, w)` → `(n, out, …)`, as the convolution's."""
        ones = x.new_ones(1, 1, *x.shape[2:])
        return self.conv(x) + self.conv._conv_forward(ones, self.border.to(x.dtype), None)  # type: ignore[no-any-return]


class _Tracer(Tracer):
    """Leaves alone what an earlier shrinking has made."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """See torch.fx."""
        return isinstance(m, Bordered) or super().is_leaf_module(m, module_qualified_name)


class ChannelConsumers:
    """What the output of a layer goes through, and into, with the constant that each channel would be there."""

    def __init__(self, root: nn.Module, calls: Mapping[str, int]) -> None:
        self.root, self.calls = root, calls
        self.norms: list[nn.Module] = []
        self.ends: list[tuple[str, Tensor]] = []

    def follow(self, node: fx.Node, values: Tensor, flat: bool) -> bool:
        """Follow all that uses `node`, whose channels are `values`, each in one place or (`flat`) in several.

        Returns whether each channel stays by itself until other layers take it in.
        """
        changed = any(_name(user).endswith("_") or self._inplace(user) for user in node.users)
        alone = len(node.users) == 1 or (len(node.users) > 1 and not changed)
        return alone and all(self._through(user, node, values, flat) for user in node.users)

    def _through(self, user: fx.Node, node: fx.Node, values: Tensor, flat: bool) -> bool:
        layer = self._layer(user)
        kind = user.target if layer is None else type(layer)
        if user.all_input_nodes != [node] or (layer is not None and self.calls[str(user.target)] > 1):
            return False
        if isinstance(layer, nn.Conv2d | nn.Linear):
            return _plain(layer) and self._into(str(user.target), layer, values, flat)
        if (
            isinstance(layer, NORMS)
            and _plain(layer)
            and layer.num_features == len(values)
            and layer.running_mean is not None
        ):
            self.norms.append(layer)
            return self.follow(user, _called(layer, values), flat)
        if kind in ELEMENTWISE:
            return self.follow(user, _applied(user, layer, values), flat)
        if flat or not _spatial(user, layer, kind):
            return False
        return self.follow(user, values, kind not in POOLS)

    def _into(self, name: str, layer: nn.Conv2d | nn.Linear, values: Tensor, flat: bool) -> bool:
        if isinstance(layer, nn.Linear):
            fits = flat and layer.in_features % len(values) == 0
        else:
            fits = not flat and layer.groups == 1 and layer.in_channels == len(values)
        self.ends.append((name, values))
        return fits

    def _layer(self, node: fx.Node) -> nn.Module | None:
        return self.root.get_submodule(str(node.target)) if node.op == "call_module" else None

    def _inplace(self, node: fx.Node) -> bool:
        return bool(getattr(self._layer(node), "inplace", False) or node.kwargs.get("inplace"))


def _take_out(root: nn.Module, node: fx.Node, calls: Mapping[str, int]) -> None:
    """Take the empty channels out of the layer that `node` calls, and out of all that they go into."""
    whole = root.get_submodule(str(node.target))
    layer = whole.conv if isinstance(whole, Bordered) else whole
    if not isinstance(layer, nn.Conv2d | nn.Linear) or not _plain(layer) or getattr(layer, "groups", 1) > 1:
        return
    alive = layer.weight.flatten(1).any(1)
    if isinstance(whole, Bordered):
        alive |= whole.border.flatten(1).any(1)
    if not alive.any():
        alive[0] = True
    bias = layer.bias if layer.bias is not None else layer.weight.new_zeros(len(alive))
    ways = ChannelConsumers(root, calls)
    if alive.all() or not ways.follow(node, bias, isinstance(layer, nn.Linear)):
        return
    for part in {whole, layer, *ways.norms}:
        _slice(part, alive)
    for name, values in ways.ends:
        fold_constants_into_bias(root, name, values, alive)


def _slice(layer: nn.Module, alive: Tensor) -> None:
    """Leave a layer's outputs, or a normalisation's channels, where they are `alive`."""
    for name in ("weight", "bias", "border", "running_mean", "running_var"):
        value = getattr(layer, name, None)
        if isinstance(value, nn.Parameter):
            setattr(layer, name, nn.Parameter(value[alive], requires_grad=False))
        elif value is not None:
            setattr(layer, name, value[alive])
    for name in ("out_channels", "out_features", "num_features"):
        if hasattr(layer, name):
            setattr(layer, name, int(alive.sum()))


def fold_constants_into_bias(root: nn.Module, name: str, values: Tensor, alive: Tensor) -> None:
    """Take the inputs that are not `alive` out of the layer `name`, and put what came of their values into its bias."""
    layer = cast("nn.Conv2d | nn.Linear", root.get_submodule(name))
    weight = layer.weight
    columns = alive.repeat_interleave(weight.shape[1] // len(alive))
    constants = values.repeat_interleave(weight.shape[1] // len(alive))[~columns].to(weight.dtype)
    lost = torch.einsum("oi...,i->o...", weight[:, ~columns], constants)
    layer.weight = nn.Parameter(weight[:, columns], requires_grad=False)
    if isinstance(layer, nn.Linear):
        layer.in_features = int(columns.sum())
    else:
        layer.in_channels = int(columns.sum())
    if not lost.any():
        return
    if isinstance(layer, nn.Conv2d) and layer.padding_mode == "zeros" and layer.padding not in ((0, 0), "valid"):
        around, _, last = name.rpartition(".")
        setattr(root.get_submodule(around), last, Bordered(layer, lost.unsqueeze(1)))
        return
    more = lost.flatten(1).sum(1) if lost.dim() > 1 else lost
    layer.bias = nn.Parameter(more if layer.bias is None else layer.bias + more, requires_grad=False)


def _plain(layer: nn.Module) -> bool:
    """Whether a layer is torch's own, and nothing hangs on it: subclasses and hooks may do as they like."""
    return type(layer) in (nn.Conv2d, nn.Linear, *NORMS) and not (layer._forward_hooks or layer._forward_pre_hooks)


def _name(node: fx.Node) -> str:
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")


def _called(layer: nn.Module, values: Tensor) -> Tensor:
    """Return what a layer makes of channels that are the same everywhere."""
    shape = (1, len(values), 1, 1) if isinstance(layer, nn.BatchNorm2d) else (1, len(values))
    return cast(Tensor, layer(values.clone().reshape(shape))).reshape(-1)


def _applied(node: fx.Node, layer: nn.Module | None, values: Tensor) -> Tensor:
    """Return what the activation `node` makes of `values`."""
    if layer is not None:
        return _called(layer, values)
    if node.op == "call_method":
        return cast(Tensor, getattr(values.clone(), str(node.target))(*node.args[1:], **node.kwargs))
    return cast(Tensor, cast(Any, node.target)(values.clone(), *node.args[1:], **node.kwargs))


def _spatial(node: fx.Node, layer: nn.Module | None, kind: Any) -> bool:
    """Whether `node` pools, averages or flattens the pixels of each channel, and leaves constants as they are."""
    more = dict(zip(("first", "second", "third"), node.args[1:], strict=False)) | node.kwargs
    if kind is nn.AvgPool2d:  # a mean over padding would be another
        return getattr(layer, "padding", 1) in (0, (0, 0)) and getattr(layer, "divisor_override", 1) is None
    if kind is F.avg_pool2d:
        return more.keys() <= {"first", "second", "kernel_size", "stride"}
    if kind in MEAN:
        dims = more.get("dim", more.get("first"))
        return isinstance(dims, list | tuple) and {int(str(d)) % 4 for d in dims} == {2, 3}
    if kind is nn.Flatten:
        return (getattr(layer, "start_dim", 0), getattr(layer, "end_dim", 0)) == (1, -1)
    if kind in FLATTEN:
        return more in ({"first": 1}, {"start_dim": 1}, {"first": 1, "second": -1})
    return kind in POOLS
