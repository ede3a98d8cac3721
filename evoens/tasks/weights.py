"""A classifier's weights from whatever file they come in: evoens's own, a state dict, or torchvision's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, load_file
from torch import Tensor

from evoens.card import TORCHVISION, parent_files, read_parent
from evoens.errors import CheckpointError
from evoens.parent import Architecture
from evoens.tensors import named

SHOWN = 4  # tensors that do not fit, in a message
_WRAPPERS = ("state_dict", "model", "model_state_dict", "net")  # keys under which training scripts put the state dict
_PREFIXES = ("module.", "_orig_mod.")  # what torch.nn.DataParallel and torch.compile put before each name


def read_weights(path: Path, architecture: Architecture) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights at `path`, fit for `architecture`, and their card; an empty one where there is none.

    Args:
        path: a parent that evoens wrote, with its card beside it; a state dict (`.safetensors`, or `.pt` and `.pth` as
            torch.save wrote them, which are read without running any code in them); or `torchvision:NAME`, the weights
            of that name of a torchvision network.
        architecture: what they are for.

    Raises:
        CheckpointError: the file is missing, damaged, no state dict, or does not fit; the message names tensors.
    """
    card: dict[str, Any] = {}
    if str(path).startswith(TORCHVISION):
        weights = _torchvision(str(path).removeprefix(TORCHVISION), architecture)
    elif parent_files(path)[1].is_file():
        data, card = read_parent(path)
        weights = load(data)
    else:
        weights = _state_dict(path)
    _require_fit(path, weights, architecture)
    return weights, card


def _state_dict(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: expected a file of weights, found none") from error
    except SafetensorError as error:
        raise CheckpointError(f"{path}: expected safetensors, found damage: {error}") from error
    except Exception as error:  # torch.load has no error of its own
        why = str(error).partition("\n")[0]
        raise CheckpointError(f"{path}: expected a state dict that torch.save wrote, found none: {why}") from error
    for key in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping) or not all(isinstance(value, Tensor) for value in found.values()):
        keys = ", ".join(map(str, list(found)[:SHOWN])) if isinstance(found, Mapping) else ""
        kind = f"keys {keys}" if keys else type(found).__name__
        raise CheckpointError(f"{path}: expected a state dict, tensors by name, found {kind}")
    for prefix in _PREFIXES:
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
    return dict(found)


def _require_fit(path: Path, weights: dict[str, Tensor], architecture: Architecture) -> None:
    """Raise unless every tensor is there and of its shape; BatchNorm's count of batches may be missing."""
    module = architecture.build()
    weights.update(named(module, weights))
    expected = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    for name in expected:
        if name.endswith("num_batches_tracked"):
            weights.setdefault(name, torch.zeros((), dtype=torch.int64))
    found = {name: tuple(value.shape) for name, value in weights.items()}
    wrong = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
    if wrong:
        pairs = [(name, expected.get(name, "none"), found.get(name, "none")) for name in wrong[:SHOWN]]
        several = "; ".join(f"{name}: expected {wanted}, found {there}" for name, wanted, there in pairs)
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise CheckpointError(f"{path}: expected the weights of {architecture.target}, found others: {several}{more}")


def _torchvision(name: str, architecture: Architecture) -> dict[str, Tensor]:
    """Return weights as the network itself takes them up: some of the files are of an older form."""
    from torchvision.models import get_model, get_model_weights  # noqa: PLC0415 (slow to import)

    network = architecture.target.rpartition(":")[2]
    try:
        weights = get_model_weights(network)[name]
        return dict(get_model(network, weights=weights, **architecture.arguments).state_dict())
    except KeyError as error:
        known = ", ".join(get_model_weights(network).__members__)
        raise CheckpointError(
            f"{TORCHVISION}{name}: expected one of {known}, as {network} has, found {name}"
        ) from error
    except ValueError as error:
        raise CheckpointError(f"{TORCHVISION}{name}: expected weights that fit {network}: {error}") from error
    except (OSError, RuntimeError) as error:  # no network, or half a file
        folder, file = Path(torch.hub.get_dir()) / "checkpoints", str(weights.url).rpartition("/")[2]
        why = " ".join(str(error).split())
        message = f"{TORCHVISION}{name}: could not be downloaded ({why}); put {file} into {folder} by hand"
        raise CheckpointError(message) from error
