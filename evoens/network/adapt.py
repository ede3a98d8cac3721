"""Take a network as somebody wrote it: its logits out of whatever it gives; or a refusal that names the layer."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.nn.modules.lazy import LazyModuleMixin

from evoens.errors import EvoensError, ShapeError, SpecError
from evoens.plugins.guest import guest

_OWN = vars(nn.Module()).keys()  # what every module has, and copies by itself


def adapted(module: nn.Module, target: str) -> nn.Module:
    """Return `module` with one tensor of logits as its output, which copies of it have too; see `logits`.

    What torch.compile and DataParallel have put around a network is taken off.

    Args:
        module: as its own code has built it.
        target: the name of what built it, for messages.

    Raises:
        SpecError: it cannot be copied, or has layers whose weights nothing can be added to.
    """
    module = getattr(module, "_orig_mod", module)
    module = module.module if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel) else module
    for name, layer in module.named_modules():
        if (why := _refused(layer)) is not None:
            raise SpecError(f'"{target}": {f"layer {name}" if name else "the network"}: {why}', ("parent", "network"))
        _let_go(layer)
    module.register_forward_hook(_hook)
    return module


def bare(module: nn.Module) -> nn.Module:
    """Return `module` without what `adapted` has put on it: it gives what its own code does."""
    for key, hook in list(module._forward_hooks.items()):
        if hook is _hook:
            del module._forward_hooks[key]
    return module


def _refused(layer: nn.Module) -> str | None:
    """Return why a network with this layer cannot be evolved."""
    if isinstance(layer, torch.jit.ScriptModule):
        return "expected a layer written in Python, found one of torch.jit; build the network that it was made from"
    if "quantized" in type(layer).__module__:
        found = f"found {type(layer).__name__}, which is quantised"
        return f"expected weights in floating point, {found}; build the network as it was before"
    if isinstance(layer, LazyModuleMixin) and layer.has_uninitialized_params():
        kind = type(layer).__name__
        return f"expected weights of known sizes, found {kind}; use {kind.removeprefix('Lazy')}, or run a batch first"
    if "forward" in vars(layer):
        return "expected forward in the layer's class, found it in the layer, where a copy would run it on the first"
    for name, value in _attributes(layer):
        try:
            with guest(name):
                copy.deepcopy(value)
        except EvoensError as error:
            return f"expected attributes that can be copied, since every child is a copy, found {error}"
    return None


def _attributes(layer: nn.Module) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in vars(layer).items() if name not in _OWN and not isinstance(value, Tensor))


def _let_go(layer: nn.Module) -> None:
    """Let activations that a layer keeps go of what they were computed from: only then can they be copied."""
    for name, value in vars(layer).items():
        if isinstance(value, Tensor) and not value.is_leaf:
            vars(layer)[name] = value.detach()


def _hook(module: nn.Module, inputs: Any, output: Any) -> Tensor:
    return logits(output)


@fx.wrap
def logits(output: Any) -> Tensor:
    """Return the logits `(n, c)` in what a network gives.

    Of a tuple, a list, a dict or an object, such as transformers' `ModelOutput`, they are what it calls `logits`, else
    its first tensor; so a network that gives auxiliary outputs while it is trained is trained by its first. One logit z
    an input, `(n, 1)` or `(n,)`, is that of the second of two classes, beside a zero: their softmax is z's sigmoid.

    Raises:
        ShapeError: there is no tensor in it.
    """
    found = chosen(output)
    if found.dim() > 1 and found.shape[-1] != 1:
        return found
    one = found.reshape(-1, 1)
    return torch.cat([torch.zeros_like(one), one], dim=1)


def chosen(output: Any) -> Tensor:
    """Return the tensor of what a network gives that its logits are, or are made of; see `logits`."""
    if isinstance(output, Tensor):
        return output
    own = output.get("logits") if isinstance(output, Mapping) else getattr(output, "logits", None)
    if isinstance(own, Tensor):
        return own
    parts = output.values() if isinstance(output, Mapping) else output if isinstance(output, tuple | list) else ()
    tensors = [part for part in parts if isinstance(part, Tensor)]
    if not tensors:
        raise ShapeError(f"a network's output: expected logits, found no tensor in {type(output).__name__}")
    return tensors[0]


def layout(module: nn.Module, inputs: Tensor) -> torch.memory_format:
    """Return in which layout `module` takes images `(n, c, h, w)`: `channels_last`, which is quicker, where it does.

    A network that views a convolution's output as rows (`x.view(-1, 16 * 5 * 5)`) takes them in no other than
    `contiguous_format`. What it raises there, where it takes them in neither, is raised.
    """
    if inputs.dim() != 4:
        return torch.contiguous_format
    with torch.inference_mode():
        tried = copy.deepcopy(module).eval().to(memory_format=torch.channels_last)
        try:
            tried(inputs.contiguous(memory_format=torch.channels_last))
        except Exception:  # whatever a user's code does
            tried.to(memory_format=torch.contiguous_format)(inputs.contiguous())
            return torch.contiguous_format
    return torch.channels_last
