"""What a layer of a network gives: read by running the network up to there and no further."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from evoens.errors import EvoensError, ShapeError, SpecError, nearest


class _Reached(BaseException):
    """Ends a forward pass at a layer; no `except Exception` in a network holds it up."""

    def __init__(self, output: object) -> None:
        self.output = output


def layer_of(module: nn.Module, name: str) -> nn.Module:
    """Return the layer of this name.

    Raises:
        SpecError: there is none; the message has the nearest name.
    """
    known: dict[str, nn.Module] = dict(module.named_modules())
    if name not in known:
        raise SpecError(f'layer "{name}": expected one of the network\'s, found no such{nearest(name, known)}')
    return known[name]


def read(module: nn.Module, layer: str, inputs: Tensor) -> Tensor:
    """Return what `layer` gives for `inputs`, `(n, units, …)`; what comes after it does not run.

    So nothing can overwrite it in place. Of a layer that the network calls several times, the first is read.

    Raises:
        SpecError: there is no such layer. EvoensError: the network does not call it.
        ShapeError: what it gives has no axis of units.
    """
    handle = layer_of(module, layer).register_forward_hook(_stop)
    try:
        module(inputs)
    except _Reached as reached:
        return _units(layer, reached.output, len(inputs))
    finally:
        handle.remove()
    raise EvoensError(f'layer "{layer}": expected one that the network calls, found one that it passes by')


def _stop(layer: nn.Module, inputs: Any, output: object) -> None:
    raise _Reached(output)


def _units(layer: str, output: object, n: int) -> Tensor:
    if not _has_units(output, n):
        found = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ShapeError(f'layer "{layer}": expected an output ({n}, units, …), found {found}')
    assert isinstance(output, Tensor)
    return output


def _has_units(output: object, n: int) -> bool:
    return isinstance(output, Tensor) and output.dim() > 1 and len(output) == n


def layers(module: nn.Module, inputs: Tensor) -> dict[str, tuple[int, ...]]:
    """Return the shape of what each layer gives for an input, by its name: `(units,)` or `(units, h, w)`.

    Layers that the network does not call, or whose output has no axis of units, are left out.

    Args:
        module: is run once.
        inputs: `(n, *input)`, as the network takes them.
    """
    shapes: dict[str, tuple[int, ...]] = {}

    def _note(name: str) -> Callable[..., None]:
        def hook(layer: nn.Module, inputs_: Any, output: Any) -> None:
            if _has_units(output, len(inputs)):
                shapes.setdefault(name, tuple(output.shape[1:]))

        return hook

    handles = [layer.register_forward_hook(_note(name)) for name, layer in module.named_modules() if name]
    try:
        with evaluating(module), torch.no_grad():
            module(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return {name: shapes[name] for name, _ in module.named_modules() if name in shapes}


@contextmanager
def evaluating(*modules: nn.Module) -> Iterator[None]:
    """Have no module train within: normalisation would mix up a batch, and learn from it."""
    training = [part for module in modules for part in module.modules() if part.training]
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True
