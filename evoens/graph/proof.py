"""Prove on inputs that a network made quicker is the same function: one cut in two, with fused layers, or shrunk."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor, fx, nn

from evoens.errors import EvoensError
from evoens.graph.cut import Cut, Features, cut
from evoens.graph.shrink import shrink
from evoens.network.inputs import Inputs, several
from evoens.parent import Fusible, Parent, fuse
from evoens.plugins.guest import guest

PROVED = 4  # inputs
NUDGE = 0.1  # how far a child's weights are moved, in their mean size
KEEP_RATIO, STEPS = 1e-3, 8  # what rounding may do: this much of the largest value, or so many steps of its precision


def proved_cut(parent: Parent, touched: Collection[str], inputs: Inputs) -> Cut | None:
    """Return where children that touch these tensors part, proved once on `inputs`; None where they share nothing.

    Why a network that can be cut is run whole nevertheless is then in `parent.whole`.
    """
    if isinstance(inputs, tuple) or not len(inputs):
        return None
    prove_fused(parent, inputs)
    found = cut(parent.module, touched)
    if found is None:
        return None
    key = frozenset(touched)
    if key not in parent.whole:
        parent.whole[key] = doubt(parent.module, found, touched, inputs[:PROVED].cpu())
    return None if parent.whole[key] else found


@torch.inference_mode(False)
@torch.no_grad()  # not inference mode, in which tensors do not count how often they are written to
def doubt(module: nn.Module, parts: Cut, touched: Collection[str], inputs: Tensor) -> str:
    """Return why `parts` are not `module`, cut; empty where they are, to the bit.

    They are asked with the weights as they are, twice since a tail may write into what it is given; and once with
    others where children differ, which the trunk must not have seen.
    """
    expected = module(inputs.clone())
    try:
        with guest("cut in two, or with other weights"):
            return _difference(module, expected, parts, touched, inputs)
    except EvoensError as error:
        return str(error)


def _difference(module: nn.Module, expected: Any, parts: Cut, touched: Collection[str], inputs: Tensor) -> str:
    own, tail = copy.deepcopy(module), copy.deepcopy(parts.tail)
    _nudge((own, tail), touched)
    moved = own(inputs.clone())
    features, writer = _recorded(parts.trunk, (inputs.clone(),), "output")
    if not all(isinstance(feature, Tensor) for feature in features):
        return "what its layers share is not all tensors"
    once, another = _recorded(parts.tail, features, "placeholder")
    same = _equal(once, expected) and _equal(parts.tail(*features), expected) and _equal(tail(*features), moved)
    if writer or another:
        return f"{writer or another} writes into what other layers read"
    return "" if same else "cut in two it gives other outputs"


@torch.inference_mode(False)
@torch.no_grad()
def prove_fused(parent: Parent, inputs: Inputs) -> None:
    """Leave for good the layers plain that are not the same to rounding once they are fused, or once children load."""
    if parent.proved or parent.layout != torch.channels_last:  # where nothing is fused
        return
    parent.proved = True
    given = dict[str, tuple[Tensor, ...]]()
    module = copy.deepcopy(parent.module).to(memory_format=torch.channels_last)
    fusible = {name: layer for name, layer in module.named_modules() if isinstance(layer, Fusible)}
    for name in fusible:
        layer = module.get_submodule(name)
        layer.register_forward_pre_hook(lambda _, args, name=name: given.update({name: _copies(args)}))
    if fusible:
        module(*(_as_image(part[:PROVED].cpu().clone()) for part in several(inputs)))
    for name, args in given.items():
        layer = parent.module.get_submodule(name)
        if not _fuses(copy.deepcopy(layer).to(memory_format=torch.channels_last), args):
            layer.stays_plain = True  # type: ignore[assignment]


def _as_image(some: Tensor) -> Tensor:
    return some.contiguous(memory_format=torch.channels_last) if some.dim() == 4 else some


def _fuses(layer: nn.Module, args: tuple[Tensor, ...]) -> bool:
    plain, quick = copy.deepcopy(layer), layer
    try:
        with guest("a layer"):
            own = quick.state_dict()
            fuse(quick)
            same = close(quick(*_copies(args)), plain(*_copies(args)))
            _nudge((plain,), plain.state_dict())
            for name, value in plain.state_dict().items():
                own[name].copy_(value)
            fuse(quick)
            return same and close(quick(*_copies(args)), plain(*_copies(args)))
    except EvoensError:
        return False


@torch.no_grad()
def proved_shrunk(module: nn.Module, inputs: Tensor) -> nn.Module:
    """Return a child's module without the channels and neurons that have no weights left, proved on `inputs`.

    Raises:
        EvoensError: torch.fx cannot trace the module, or its outputs are not the same to rounding.
    """
    small, some = shrink(module, {}), inputs[:PROVED].cpu()
    if not close(small(some.clone()), module(some.clone())):
        raise EvoensError("the network without its empty channels: expected the outputs of the whole one, found others")
    return small


def close(a: Any, b: Any) -> bool:
    """Whether two tensors differ by no more than rounding; those of different shapes do."""
    if not (isinstance(a, Tensor) and isinstance(b, Tensor) and a.shape == b.shape):
        return False
    if not a.is_floating_point() or not a.numel():
        return torch.equal(a, b)
    scale = float(b.abs().nan_to_num(0, 0, 0).max())
    return torch.allclose(a, b, rtol=0, atol=max(KEEP_RATIO, STEPS * torch.finfo(b.dtype).eps) * scale, equal_nan=True)


def _copies(args: Any) -> tuple[Tensor, ...]:
    return tuple(arg.clone() for arg in args)


def _equal(found: Any, expected: Any) -> bool:
    return isinstance(found, Tensor) and torch.equal(found, expected)


def _nudge(modules: Collection[nn.Module], touched: Collection[str]) -> None:
    """Move the `touched` weights of some modules, all alike, and each of them in another way."""
    for module in modules:
        for name, weight in module.state_dict().items():
            if name in touched and weight.is_floating_point():
                way = torch.linspace(-1, 1, weight.numel()).to(weight.dtype).view(weight.shape)
                weight.add_(way * weight.abs().mean() * NUDGE)


def _recorded(part: nn.Module, given: Features, edge: str) -> tuple[Any, str]:
    """Return what a trunk or tail gives, and which of its layers writes into what is at the edge: its nodes `edge`."""
    recorder = _Recorder(part, edge)
    return recorder.run(*given), recorder.writer


class _Recorder(fx.Interpreter):
    """Runs a part of a network and watches some tensors, which have to stay as they were made."""

    def __init__(self, part: nn.Module, edge: str) -> None:
        super().__init__(part)
        self.writer = ""
        found = [node for node in self.graph.nodes if node.op == edge]
        self._edge = set(found if edge == "placeholder" else found[0].all_input_nodes)
        self._seen = list[tuple[Tensor, int]]()

    def run_node(self, n: fx.Node) -> Any:
        """See torch.fx."""
        value = super().run_node(n)
        if not self.writer and any(kept._version != version for kept, version in self._seen):
            self.writer = self._name(n)
        if n in self._edge and isinstance(value, Tensor):
            self._seen.append((value, value._version))
        return value

    def _name(self, node: fx.Node) -> str:
        if node.op == "call_module":
            return f"{node.target} ({type(self.fetch_attr(str(node.target))).__name__})"
        around = list(node.meta.get("nn_module_stack", {}).values())
        return f"{node.name} in {around[-1][0] if around else 'forward'}"
