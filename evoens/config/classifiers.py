"""Whether the network and the weights that a classification YAML names are there; checked without importing torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evoens.card import TORCHVISION, find_parent, parent_files, read_parent, tensor_names
from evoens.config.faults import Fault
from evoens.config.yaml_file import Keys
from evoens.errors import CheckpointError, SpecError
from evoens.scope import resolve
from evoens.settings.classification import ClassificationConfig
from evoens.spec import locate
from evoens.tasks.networks.catalogue import NETWORKS
from evoens.tasks.networks.catalogue import TORCHVISION as NETWORKS_OF_TORCHVISION

SUFFIXES = (".safetensors", ".pt", ".pth")
_NETWORK: Keys = ("parent", "network")
_CHECKPOINT: Keys = ("parent", "checkpoint")


def classifier_faults(config: ClassificationConfig, base: Path, retrain: bool) -> Iterator[Fault]:
    """Yield what is wrong with the network's name and, where the weights are there and are to be used, with these.

    Args:
        config: the checked YAML.
        base: its folder, from which relative paths start.
        retrain: the weights on disk are not to be used.
    """
    name = config.parent.network
    if name not in NETWORKS and not name.startswith(NETWORKS_OF_TORCHVISION):
        try:
            locate(name, [base, Path.cwd()])
        except SpecError as error:
            yield Fault(_NETWORK, str(error))
    path = find_parent(config.parent.checkpoint, base)
    if retrain or path is None:
        if Path(config.parent.checkpoint).suffix not in SUFFIXES:
            ends = f"expected a file that ends in {', '.join(SUFFIXES)}"
            yield Fault(_CHECKPOINT, f"{ends}, found {config.parent.checkpoint}")
        return
    if str(path).startswith(TORCHVISION):
        if not config.parent.network.startswith("torchvision.models:"):
            message = f"expected a file, or a network torchvision.models:…, found {path} for {config.parent.network}"
            yield Fault(_CHECKPOINT, message, (_NETWORK,))
    elif path.is_dir():
        yield Fault(_CHECKPOINT, f"expected a file, found the folder {path}")
    elif parent_files(path)[1].is_file():
        yield from _card_faults(config, path)


def _card_faults(config: ClassificationConfig, path: Path) -> Iterator[Fault]:
    try:
        data, card = read_parent(path)
    except CheckpointError as error:
        yield Fault(_CHECKPOINT, f"{error}; --retrain trains one anew")
        return
    if card.get("network") not in (None, config.parent.network):
        message = f"expected {card['network']}, as the parent {path} is, found {config.parent.network}"
        yield Fault(_NETWORK, f"{message}; --retrain trains one anew", (_CHECKPOINT,))
    if card.get("data") not in (None, config.problem.data):
        message = f"expected {card['data']}, which the parent {path} was trained on, found {config.problem.data}"
        yield Fault(("problem", "data"), f"{message}; --retrain trains one anew", (_CHECKPOINT,))
    try:
        resolve(config.strategy.scope, tensor_names(data))
    except SpecError as error:
        yield Fault(("strategy", "scope"), str(error), (_CHECKPOINT,))
