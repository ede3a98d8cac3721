"""A classifier's weights from whatever file they come in: evoens's own, a state dict, or torchvision's."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from evoens.architecture import Architecture
from evoens.errors import CheckpointError, nearest
from evoens.network.tensors import first_names, named, plain
from evoens.storage.card import TORCHVISION, parent_files, read_parent
from evoens.storage.tensor_file import parse_tensors
from evoens.tasks.state_dicts import Found, Wanted, nearest_state_dict, state_dicts
from evoens.tasks.weight_files import read_file

SHOWN = 4  # tensors that do not fit, in a message
_CHOSEN = ("parent", "weights")


def read_weights(
    path: Path, architecture: Architecture, chosen: str | None = None
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights at `path`, fit for `architecture`, and their card; without one, what was taken of several.

    Args:
        path: a parent that evoens wrote, with its card beside it; a state dict (`.safetensors`, or what torch.save
            wrote, which is read without running any code in it), under whatever keys and prefixes; or
            `torchvision:NAME`, the weights of that name of a torchvision network.
        architecture: what they are for.
        chosen: the key under which they lie, where there are several: the averaged ones beside the raw, say.

    Raises:
        CheckpointError: the file is missing, damaged, no state dict, or does not fit; the message names tensors.
    """
    card: dict[str, Any] = {}
    if str(path).startswith(TORCHVISION):
        weights = _torchvision(str(path).removeprefix(TORCHVISION), architecture)
    elif parent_files(path)[1].is_file():
        data, card = read_parent(path)
        weights = parse_tensors(data, parent_files(path)[0])
    else:
        return _own(path, architecture, chosen)
    if chosen is not None:
        raise CheckpointError(f"{path}: expected no name among several weights, found {chosen}", _CHOSEN)
    _require_fit(path, weights, architecture)
    return weights, card


def _own(path: Path, architecture: Architecture, chosen: str | None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the weights of a user's own file, and which of several these are."""
    content = read_file(path)
    wanted = list(_wanted(architecture.outline()))
    several = next(filter(None, (state_dicts(content, one) for one in wanted)), [])
    if several:
        taken = _chosen(path, several, chosen) if chosen is not None else several[0]
        weights, record = taken.weights, _said(path, taken, [one for one in several if one is not taken])
    elif close := nearest_state_dict(content, wanted[0]):
        weights, record = close, {}
    else:
        keys = ", ".join(map(str, list(content)[:SHOWN])) or "none" if isinstance(content, dict) else ""
        found = f"keys {keys}" if keys else type(content).__name__
        raise CheckpointError(f"{path}: expected a state dict, tensors by name, found {found}")
    _require_fit(path, weights, architecture)
    return weights, record


def _wanted(module: nn.Module) -> Iterator[Wanted]:
    """Yield what a state dict of `module` may be: as it is written, and where it has parametrisations, without them."""
    written = module.state_dict().keys()
    yield _of(module)
    plain(module)
    if module.state_dict().keys() != written:
        yield _of(module)


def _of(module: nn.Module) -> Wanted:
    return Wanted({name: value.shape for name, value in module.state_dict().items()}, first_names(module))


def _chosen(path: Path, several: list[Found], chosen: str) -> Found:
    """Return those under the key, or the prefix, that the user names."""
    for one in several:
        if chosen in (one.name, *one.words):
            return one
    names = [one.name for one in several]
    message = f"expected one of {', '.join(names)}, as {path} has, found {chosen}{nearest(chosen, names)}"
    raise CheckpointError(message, _CHOSEN)


def _said(path: Path, taken: Found, others: list[Found]) -> dict[str, Any]:
    """Tell, and return for the record, which weights were taken, where there was a choice."""
    beside = [one.name for one in others]
    if not (beside or taken.averaged or taken.beside):
        return {}
    kind = "averaged weights" if taken.averaged else "weights"
    sentence = f"{path}: took the {kind} under {taken.name}"
    if beside:
        sentence += f"; parent.weights would take those under {' or '.join(beside)}"
    if taken.beside:
        more = f" and {len(taken.beside) - SHOWN} more" if len(taken.beside) > SHOWN else ""
        sentence += f"; left out {', '.join(taken.beside[:SHOWN])}{more}"
    warnings.warn(sentence, stacklevel=2)
    return {"taken": taken.name, "averaged": taken.averaged, "beside": beside}


def _require_fit(path: Path, weights: dict[str, Tensor], architecture: Architecture) -> None:
    """Raise unless every tensor is there and of its shape; BatchNorm's count of batches may be missing."""
    module = architecture.outline()
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
    except Exception as error:  # no network, half a file, or something else under its name
        folder, file = Path(torch.hub.get_dir()) / "checkpoints", str(weights.url).rpartition("/")[2]
        why = " ".join(str(error).split()) if isinstance(error, OSError | RuntimeError) else "no file of weights"
        message = f"{TORCHVISION}{name}: could not be downloaded ({why}); put {file} into {folder} by hand"
        raise CheckpointError(message) from error
