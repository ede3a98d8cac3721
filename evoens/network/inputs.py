"""What a caller hands to a predictor: a device that is here, inputs that its network takes, or one sentence why not."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from evoens.errors import EvoensError, ShapeError
from evoens.plugins.guest import guest


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
def taken(inputs: Tensor) -> Iterator[None]:
    """Say in one sentence, of an error raised within, which inputs the network does not take.

    Raises:
        ShapeError: whatever the network raised; or `inputs` are no tensor.
    """
    if not isinstance(inputs, Tensor):
        kind = f"{type(inputs).__module__}.{type(inputs).__qualname__}"
        hint = "; torch.from_numpy(inputs) makes one of it" if kind == "numpy.ndarray" else ""
        raise ShapeError(f"inputs: expected a torch.Tensor, found {kind}{hint}")
    found = f"found shape {tuple(inputs.shape)} of {str(inputs.dtype).removeprefix('torch.')}"
    with guest(f"inputs: expected those that the network takes, {found}", ShapeError):
        yield
