"""Safetensors, read whole or refused with a reason: no damage in a header ends in anything but a CheckpointError."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load
from torch import Tensor

from evoens.errors import CheckpointError


def load_tensors(path: Path, what: str = "a file of weights") -> dict[str, Tensor]:
    """Return the tensors of a safetensors file by name.

    Raises:
        CheckpointError: there is none, or it is damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: expected {what}, found none") from error
    except OSError as error:
        raise CheckpointError(f"{path}: expected {what}, found none to read: {error.strerror}") from error
    return parse_tensors(data, path)


def parse_tensors(data: bytes, place: Path) -> dict[str, Tensor]:
    """Return the tensors that are in `data`, the bytes of the file `place`.

    Raises:
        CheckpointError: they are damaged.
    """
    try:
        return dict(load(data))
    except Exception as error:  # SafetensorError for the header, and whatever torch says of dtypes and sizes
        why = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{place}: expected safetensors, found damage ({type(error).__name__}: {why})") from error
