"""A parent on disk: `<stem>.safetensors`, its weights, and `<stem>.json`, its card, which says where they are from."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from evoens.errors import CheckpointError

TORCHVISION = "torchvision:"
"""What stands before the name of weights that torchvision has."""
_NEEDED = ("architecture", "bytes", "sha256")


def parent_files(path: Path) -> tuple[Path, Path]:
    """Return the files of the weights and of the card for `path`, which may end in either's ending or in none."""
    stem = path.with_suffix("") if path.suffix in (".safetensors", ".json") else path
    return stem.with_name(f"{stem.name}.safetensors"), stem.with_name(f"{stem.name}.json")


def find_parent(name: str, base: Path) -> Path | None:
    """Return the file `name` from `base`, else from the working folder; None where there is none.

    The name of torchvision's own weights is returned as it is.
    """
    if name.startswith(TORCHVISION):
        return Path(name)
    return next((path for path in (base / name, Path(name)) if path.exists()), None)


def read_card(path: Path) -> dict[str, Any]:
    """Return the card of the parent at `path`.

    Raises:
        CheckpointError: there is none, or it is not a card.
    """
    file = parent_files(path)[1]
    try:
        card = json.loads(file.read_bytes())
    except FileNotFoundError as error:
        raise CheckpointError(f"{file}: expected a parent's card, found no such file") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: expected a parent's card, found what cannot be read: {error}") from error
    missing = [key for key in _NEEDED if key not in card] if isinstance(card, dict) else list(_NEEDED)
    if missing:
        raise CheckpointError(f"{file}: expected a parent's card, found no {', '.join(missing)} in it")
    return dict(card)


def read_parent(path: Path) -> tuple[bytes, dict[str, Any]]:
    """Return the bytes of the parent's weights and its card, after checking that the one belongs to the other.

    Raises:
        CheckpointError: a file is missing, damaged, or not the one the card describes.
    """
    file, card = parent_files(path)[0], read_card(path)
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file}: expected a parent's weights, found none ({error.strerror})") from error
    found = hashlib.sha256(data).hexdigest()
    if (len(data), found) != (card["bytes"], card["sha256"]):
        expected = f"{card['bytes']} bytes with sha256 {str(card['sha256'])[:12]}… as its card says"
        raise CheckpointError(f"{file}: expected {expected}, found {len(data)} bytes with sha256 {found[:12]}…")
    return data, card


def tensor_names(data: bytes) -> list[str]:
    """Return the names of the tensors with two dimensions or more in a safetensors file, from its header."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    return [name for name, tensor in header.items() if len(tensor.get("shape", ())) >= 2]
