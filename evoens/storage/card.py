"""A parent on disk: `<stem>.safetensors`, its weights, and `<stem>.json`, its card, which says where they are from."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from evoens.errors import CheckpointError
from evoens.storage.json_file import parse_json, read_json

TORCHVISION = "torchvision:"
"""What stands before the name of weights that torchvision has."""

Count = Annotated[int, Field(ge=0, le=2**53)]


class Levels(TypedDict):
    """The levels of a game that a policy has learnt on."""

    start: Count
    count: Count


class Scaling(TypedDict):
    """How images were normalised that a classifier has learnt on."""

    mean: list[float]
    std: list[float]


class Card(TypedDict):
    """What of a card is read; whatever else it holds is shown as it is."""

    architecture: dict[str, Any]
    bytes: int
    sha256: str
    game: NotRequired[str]
    frame_stack: NotRequired[int]
    levels: NotRequired[Levels]
    network: NotRequired[str | list[int]]
    ppo: NotRequired[dict[str, Any]]
    data: NotRequired[str]
    classes: NotRequired[list[str]]
    normalise: NotRequired[Scaling]
    splits: NotRequired[dict[str, Any]]
    split_seed: NotRequired[int]
    steps: NotRequired[Count]
    epochs: NotRequired[Count]
    seconds: NotRequired[Annotated[float, Field(ge=0, allow_inf_nan=False)]]
    curve: NotRequired[list[dict[str, Any]]]


class _Tensor(TypedDict, total=False):
    shape: list[int]


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


def beside(name: str, base: Path) -> list[str]:
    """Return what lies where the file or folder `name` would lie, each named from `base` as `name` is."""
    path = Path(name).expanduser()
    try:
        return sorted(str(path.with_name(entry.name)) for entry in (base / path).parent.iterdir())
    except OSError:
        return []


def read_card(path: Path) -> dict[str, Any]:
    """Return the card of the parent at `path`.

    Raises:
        CheckpointError: there is none, or it is not a card.
    """
    return read_json(parent_files(path)[1], "a parent's card", Card)


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


def tensor_names(data: bytes, place: Path) -> list[str]:
    """Return the names of the tensors with two dimensions or more in a safetensors file, from its header.

    Args:
        data: of the file.
        place: the file, for messages.

    Raises:
        CheckpointError: the header is damaged.
    """
    length = int.from_bytes(data[:8], "little")
    header = parse_json(data[8 : 8 + length], place, "the header of safetensors", dict[str, _Tensor])
    return [name for name, tensor in header.items() if len(tensor.get("shape", ())) >= 2]
