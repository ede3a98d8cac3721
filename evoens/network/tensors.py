"""A network's tensors by name: each once, however many names it has; parametrised weights as plain ones."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import combinations

from torch import Tensor, nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm, SpectralNormLoadStateDictPreHook
from torch.nn.utils.weight_norm import WeightNorm

from evoens.errors import ShapeError, SpecError


def alias(module: nn.Module) -> nn.Module:
    """Return a copy of `module` whose tensors lie in the same memory: for who moves or fuses it, and writes to none."""
    copies: dict[int, Tensor] = {id(value): value.detach() for value in module.buffers()}
    for value in module.parameters():
        copies[id(value)] = nn.Parameter(value.detach(), requires_grad=value.requires_grad)
    return copy.deepcopy(module, copies)


def first_names(module: nn.Module) -> dict[str, str]:
    """Return for each name of the state dict the first name of the same tensor, which is its own where it has one.

    Layers that are used in two places and layers with one weight (`b.weight = a.weight`) have tensors of two names.
    """
    seen: dict[int, str] = {}
    return {name: seen.setdefault(id(value), name) for name, value in module.state_dict(keep_vars=True).items()}


def tensors(module: nn.Module) -> dict[str, Tensor]:
    """Return the state dict, each tensor once, under its first name; they are the module's own.

    Raises:
        SpecError: a layer's state is no tensor, or two parameters lie in the same memory.
    """
    own = module.state_dict()
    found = {name: own[name] for name, first in first_names(module).items() if name == first}
    for name, value in found.items():
        if not isinstance(value, Tensor):
            raise SpecError(f"{name}: expected a tensor, found a state of another kind ({type(value).__name__})")
    memory = {name: value.untyped_storage().data_ptr() for name, value in found.items() if value.numel()}
    for a, b in combinations(memory, 2) if len(set(memory.values())) < len(memory) else ():
        if memory[a] == memory[b] and _overlap(found[a], found[b]):
            raise SpecError(f"{a} and {b}: expected tensors of their own, or one of two names, found two in one memory")
    return found


def _overlap(a: Tensor, b: Tensor) -> bool:
    starts = [value.storage_offset() for value in (a, b)]
    ends = [
        start + sum((n - 1) * step for n, step in zip(value.shape, value.stride(), strict=True))
        for start, value in zip(starts, (a, b), strict=True)
    ]
    return bool(starts[0] <= ends[1] and starts[1] <= ends[0])


def load(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load `weights`, a whole state dict or each tensor once, under its first name.

    They may be those of the network as it was written, with its parametrisations, or as `plain` makes it.

    Raises:
        ShapeError: a tensor is missing, unknown, of another shape, or has two values under two names.
    """
    module.eval()
    given = named(module, weights)
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in given.items()}
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise ShapeError(
                f"{name}: expected shape {expected.get(name, 'no such tensor')}, "
                f"found {found.get(name, 'no such tensor')}"
            )
    for name, first in first_names(module).items():
        if name != first and not given[name].equal(given[first]):
            raise ShapeError(f"{name}: expected the values of {first}, the same tensor in the network, found others")
    whole = module.state_dict()  # says of which version each layer's tensors are: MNASNet takes none without it
    whole.update(given)
    module.load_state_dict(whole)


def named(module: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `weights` under every name of the module, which `plain` has changed where they are of plain layers."""
    if not module.state_dict().keys() <= _all_names(module, weights).keys():
        plain(module)
    return _all_names(module, weights)


def _all_names(module: nn.Module, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    firsts = first_names(module)
    given = {firsts[name]: value for name, value in weights.items() if name in firsts}
    return {**{name: given[first] for name, first in firsts.items() if first in given}, **weights}


def plain(module: nn.Module) -> None:
    """Make every parametrised tensor of `module` a plain one, of the values it has: noise is for weights as they act.

    Parametrised by `torch.nn.utils.parametrizations`, by the older `weight_norm` and `spectral_norm`, or by `prune`.
    The outputs stay the same bits. Who trains the network further trains the plain tensor, without what constrained it.
    """
    module.eval()  # spectral_norm moves while it is trained
    for layer in list(module.modules()):
        for name in list(getattr(layer, "parametrizations", ())) if parametrize.is_parametrized(layer) else ():
            _own_class(layer)
            parametrize.remove_parametrizations(layer, name)
        for hook in list(layer._forward_pre_hooks.values()):
            if isinstance(hook, WeightNorm):
                remove_weight_norm(layer, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(layer, hook.name)
                _forget_spectral_norm(layer)
            elif isinstance(hook, prune.BasePruningMethod):
                prune.remove(layer, hook._tensor_name)  # type: ignore[no-untyped-call]


def _own_class(layer: nn.Module) -> None:
    """Give a parametrised layer a class of its own: copies share one, and torch takes the tensor out of that."""
    shared = type(layer)
    attributes = {name: value for name, value in vars(shared).items() if name not in ("__dict__", "__weakref__")}
    layer.__class__ = type(shared.__name__, shared.__bases__, attributes)


def _forget_spectral_norm(layer: nn.Module) -> None:
    """Take away the hook that torch leaves behind, which would ask a plain layer for the tensors of before."""
    for key, hook in list(layer._load_state_dict_pre_hooks.items()):
        if isinstance(getattr(hook, "hook", hook), SpectralNormLoadStateDictPreHook):
            del layer._load_state_dict_pre_hooks[key]
