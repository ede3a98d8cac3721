"""The folder that carries networks anywhere: written, and read with every hash checked; nothing is unpickled."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor
from typing_extensions import NotRequired, TypedDict

from evoens.ensemble_folder import CONTIGUOUS, description_sha256, save_code
from evoens.errors import CheckpointError, SpecError
from evoens.known_code import Trust, known_architecture
from evoens.network.wrapper import Wrapper
from evoens.parent import fingerprint
from evoens.predictors.networks import Networks
from evoens.storage.files import write_atomic
from evoens.storage.json_file import as_written, read_json
from evoens.storage.tensor_file import parse_tensors
from evoens.tasks.data.preprocessing import Preprocessing

NETWORKS, WITHIN = "networks.json", "ensemble"
FORMAT = 1
_OURS = re.compile(r"evoens\.methods\.\w+:\w+")


class _Network(TypedDict):
    file: str
    sha256: str


class _Description(TypedDict):
    """What of networks.json is read before its hash is known to be right."""

    format: int
    architecture: dict[str, Any]
    wrapper: dict[str, Any] | None
    networks: list[_Network]
    sha256: str
    layout: NotRequired[str]


def write_networks(folder: Path, networks: Networks, about: Mapping[str, Any]) -> None:
    """Write networks.json, the weights of each network, and the files of a user's own network.

    about: further facts, such as the problem.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for place, weights in enumerate(networks.weights):
        data = save({name: value.contiguous() for name, value in weights.items()})
        write_atomic(folder / f"{place}.safetensors", data)
        sha256 = hashlib.sha256(data).hexdigest()
        rows.append({"file": f"{place}.safetensors", "sha256": sha256, "fingerprint": fingerprint(weights)})
    document = {
        "format": FORMAT,
        "about": dict(about),
        "architecture": save_code(networks.architecture, None, folder).to_json(),
        "wrapper": networks.wrapper.to_json() if networks.wrapper else None,
        **({"layout": CONTIGUOUS} if networks.layout == torch.contiguous_format else {}),
        "seed": networks.seed,
        "temperature": networks.temperature,
        "preprocessing": networks.preprocessing.to_json() if networks.preprocessing else None,
        "networks": rows,
    }
    document["sha256"] = description_sha256(document)
    write_atomic(folder / NETWORKS, json.dumps(document, indent=1) + "\n")


def find_networks(path: Path) -> Path | None:
    """Return the folder of networks that `path` is or has; None where it has none."""
    return next((folder for folder in (path, path / WITHIN) if (folder / NETWORKS).is_file()), None)


def read_networks(folder: Path, trust: Trust) -> Networks:
    """Rebuild networks from their folder.

    Raises:
        CheckpointError: a file is missing or damaged.
        SpecError: code is not there, has changed, or is not of evoens, of torchvision or of the folder.
        ShapeError: the weights are not those of the network.
    """
    path = folder / NETWORKS
    document = read_json(path, "a description of networks", _Description)
    if document["format"] != FORMAT:
        raise CheckpointError(f"{path}: expected format {FORMAT}, found {document['format']}")
    if description_sha256(document) != document["sha256"]:
        raise CheckpointError(f"{path}: expected a description as it was written, found one that has changed")
    with as_written(path, "a description of networks"):
        wrapper = _wrapper(folder, document["wrapper"], trust)
        shown = document["preprocessing"]
        return Networks(
            known_architecture(folder, document, trust),
            [_weights(folder, row) for row in document["networks"]],
            wrapper=wrapper,
            layout=torch.contiguous_format if document.get("layout") == CONTIGUOUS else torch.channels_last,
            seed=document["seed"],
            temperature=document["temperature"],
            preprocessing=Preprocessing.from_json(shown) if shown else None,
        )


def _weights(folder: Path, row: Mapping[str, str]) -> dict[str, Tensor]:
    path = folder / row["file"]
    if path.parent != folder:
        raise CheckpointError(f"{folder}: expected a file of this folder, found {row['file']}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path}: expected a network's weights, found none to read") from error
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise CheckpointError(f"{path}: expected the weights that {NETWORKS} names, found others")
    return parse_tensors(data, path)


def _wrapper(folder: Path, row: Mapping[str, Any] | None, trust: Trust) -> Wrapper | None:
    if row is None:
        return None
    if Trust.PACKAGES not in trust and not _OURS.fullmatch(row["target"]):
        expected = "expected a wrapper of evoens.methods"
        raise SpecError(f"{folder}: {expected}, found {row['target']}; trust=True (--trust) imports it")
    return Wrapper(row["target"], row["arguments"])
