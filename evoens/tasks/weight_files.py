"""Files of weights that others wrote: read without running code in them, and named as what they are where they are not.

`torch.load(weights_only=True)` builds tensors and plain containers alone; what timm and NumPy put beside them passes.
"""

from __future__ import annotations

import argparse
import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from evoens.errors import CheckpointError
from evoens.storage.tensor_file import load_tensors

_HEAD = 1024  # bytes from which a file is known
_SCALAR = np.float64(0).__reduce__()[0]  # what rebuilds a NumPy scalar, whichever module this NumPy has it in
_ARRAY = np.zeros(0).__reduce__()[0]  # and an array; one of objects holds what else is in the file, no more
_HARMLESS: list[Any] = [
    argparse.Namespace,
    np.dtype,
    np.ndarray,
    *{type(np.dtype(code)) for code in "?bhilqBHILQefdg"},
    *((_SCALAR, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    *((_ARRAY, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
]
_KINDS = (  # how a file begins that is something else
    (rb"version https://git-lfs", "a pointer of Git LFS: `git lfs pull` fetches the file it stands for"),
    (rb"\s*(<!doctype html|<html|<head|<\?xml)", "a web page: the link it came from leads to a page, not to the file"),
    (rb"\x1f\x8b", "a file packed with gzip: unpack it first"),
    (rb"BZh|\xfd7zXZ|\x28\xb5\x2f\xfd|7z\xbc\xaf|Rar!", "a packed file: unpack it first"),
    (rb".{257}ustar", "a tar archive: unpack it first"),
    (rb"\x89HDF", "an HDF5 file, as Keras writes it"),
    (rb"\x93NUMPY", "a NumPy array"),
    (rb"GGUF", "a GGUF file"),
    (rb"\s*[\[{]", "a text file"),
)
_SAVE = "save its state dict alone: torch.save(model.state_dict(), PATH)"


def read_file(path: Path) -> Any:
    """Return what a file holds: tensors by name (safetensors), or whatever torch.save wrote.

    Raises:
        CheckpointError: there is none, it is damaged, or something else; the message says what it is.
    """
    if path.suffix == ".safetensors":
        return load_tensors(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: expected a file of weights, found none") from error
    except OSError as error:
        raise CheckpointError(f"{path}: expected a file of weights, found none to read: {error.strerror}") from error
    if other := _other(path, head):
        raise CheckpointError(f"{path}: expected a state dict that torch.save wrote, found {other}")
    try:
        with torch.serialization.safe_globals(_HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load has no error of its own, and its advice is to run the file's code
        raise CheckpointError(f"{path}: expected a state dict that torch.save wrote, found {_why(error)}") from error


def _other(path: Path, head: bytes) -> str | None:
    """Return what a file is that torch.save did not write; None where it may have."""
    if not head:
        return "an empty file"
    for beginning, kind in _KINDS:
        if re.match(beginning, head, re.IGNORECASE | re.DOTALL):
            return kind
    if head.startswith(b"PK"):
        return _archive(path)
    return None if head.startswith(b"\x80") else "a file of another kind"


def _archive(path: Path) -> str | None:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return f"half a file: its end is missing after {path.stat().st_size} bytes"
    inside = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in inside:
        return f"a TorchScript archive, which is code; {_SAVE.replace('model', 'torch.jit.load(PATH)')}"
    if "data.pkl" in inside:
        return None
    return (
        "a NumPy archive"
        if names and all(n.endswith(".npy") for n in names)
        else (f"a zip archive with {', '.join(names[:3]) or 'nothing'} in it")
    )


def _why(error: Exception) -> str:
    """Say why torch refuses a file, in words of our own."""
    if isinstance(error, (EOFError, RuntimeError)):
        return "damage: a part of the file is missing or changed"
    named = re.search(r"GLOBAL (\S+) was not|class (\S+)", str(error))
    what = next((name for name in named.groups() if name), "").strip("`.,'>") if named else ""
    if what:
        return f"an object of {what} in it, which only running code could rebuild; {_SAVE}"
    return "damage, or what only running code could rebuild"
