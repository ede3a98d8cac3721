"""What a caller hands to a predictor: a device that is here, inputs that its network takes, or one sentence why not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from evoens.errors import EvoensError, ShapeError
from evoens.plugins.guest import guest

Inputs = Tensor | tuple[Tensor, ...]
"""What a network is given: inputs `(n, *input)`, or several tensors, each with a row an input; of any dtype."""


def several(inputs: Inputs) -> tuple[Tensor, ...]:
    """Return the tensors of inputs, as a network's `forward` takes them."""
    return inputs if isinstance(inputs, tuple) else (inputs,)


def each(inputs: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """Return inputs with every tensor changed."""
    return tuple(map(change, inputs)) if isinstance(inputs, tuple) else change(inputs)


def count(inputs: Inputs) -> int:
    """Return how many inputs there are."""
    return len(several(inputs)[0])


def shape_of(inputs: Inputs) -> tuple[int, ...]:
    """Return the shape of one input, of its first tensor where there are several."""
    return tuple(several(inputs)[0].shape[1:])


def parts(inputs: Inputs, size: int) -> list[Inputs]:
    """Return inputs in parts of `size`, in order."""
    if isinstance(inputs, Tensor):
        return list(torch.split(inputs, size))
    return list(zip(*(torch.split(part, size) for part in inputs), strict=True))


def usable(device: torch.device | str) -> torch.device:
    """Return a device on which a tensor can be made.

    Raises:
        EvoensError: there is no such device here.
    """
    try:
        found = torch.device(device)
        torch.empty(0, device=found)
    except (RuntimeError, AssertionError) as error:
        why = str(error).partition("\n")[0]
        raise EvoensError(f'device: expected one that is here, such as "cpu", found "{device}": {why}') from error
    return found


@contextmanager
def taken(inputs: Inputs) -> Iterator[None]:
    """Say in one sentence, of an error raised within, which inputs the network does not take.

    Raises:
        ShapeError: whatever the network raised; or `inputs` are no tensor.
    """
    if not all(isinstance(part, Tensor) for part in several(inputs)):
        kind = f"{type(inputs).__module__}.{type(inputs).__qualname__}"
        hint = "; torch.from_numpy(inputs) makes one of it" if kind == "numpy.ndarray" else ""
        raise ShapeError(f"inputs: expected a torch.Tensor, found {kind}{hint}")
    found = " and ".join(
        f"shape {tuple(part.shape)} of {str(part.dtype).removeprefix('torch.')}" for part in several(inputs)
    )
    with guest(f"inputs: expected those that the network takes, found {found}", ShapeError):
        yield
