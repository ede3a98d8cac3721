"""Whether the network and the weights that a classification YAML names are there; checked without importing torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from evoens.errors import CheckpointError, SpecError, nearest
from evoens.plugins.signature import check_source
from evoens.scope import resolve
from evoens.settings.classification import ClassificationConfig
from evoens.settings.fault import Fault, Keys
from evoens.storage.card import TORCHVISION, beside, find_parent, parent_files, read_parent, tensor_names
from evoens.tasks.networks.catalogue import TORCHVISION as NETWORKS_OF_TORCHVISION
from evoens.tasks.networks.catalogue import locate_network

TRAINED = ".safetensors"
SUFFIXES = (TRAINED, ".pt", ".pth", ".ckpt", ".bin", ".pth.tar")
_NETWORK: Keys = ("parent", "network")
_CHECKPOINT: Keys = ("parent", "checkpoint")


def classifier_faults(config: ClassificationConfig, base: Path, retrain: bool) -> Iterator[Fault]:
    """Yield what is wrong with the network's name and, where the weights are there and are to be used, with these.

    Args:
        config: the checked YAML.
        base: its folder, from which relative paths start.
        retrain: the weights on disk are not to be used.
    """
    yield from network_faults(config, base)
    if not retrain:
        yield from _learnt_faults(config, base)
    checkpoint = config.parent.checkpoint
    path = find_parent(checkpoint, base)
    if retrain or path is None:
        if not checkpoint.endswith(TRAINED):
            expected = f"a path that ends in {TRAINED} where a parent is trained"
            if not retrain:
                expected = f"a file of weights, or {expected}"
            found = (
                checkpoint
                if path
                else f"{checkpoint}, which is not there{nearest(checkpoint, beside(checkpoint, base))}"
            )
            yield Fault(_CHECKPOINT, f"expected {expected}, found {found}")
    elif str(path).startswith(TORCHVISION):
        if not config.parent.network.startswith(NETWORKS_OF_TORCHVISION):
            message = f"expected a file, or a network {NETWORKS_OF_TORCHVISION}…, found {path}"
            yield Fault(_CHECKPOINT, f"{message} for {config.parent.network}", (_NETWORK,))
    elif path.is_dir():
        yield Fault(_CHECKPOINT, f"expected a file, found the folder {path}")
    elif not path.name.endswith(SUFFIXES):
        yield Fault(_CHECKPOINT, f"expected a file that ends in {', '.join(SUFFIXES)}, found {path}")
    elif parent_files(path)[1].is_file():
        yield from _card_faults(config, path)


def network_faults(config: ClassificationConfig, base: Path) -> Iterator[Fault]:
    """Yield what is wrong with the network's name."""
    try:
        own = locate_network(config.parent.network, [base, Path.cwd()])
        if own is not None:
            check_source(own)
    except SpecError as error:
        yield Fault(_NETWORK, str(error))


def _learnt_faults(config: ClassificationConfig, base: Path) -> Iterator[Fault]:
    """Yield the splits that are measured on and that the parent on disk is said to have learnt on."""
    path, learnt, keys = find_parent(config.parent.checkpoint, base), config.learnt_on, ("parent", "learnt_on")
    if path is None or (config.parent.learnt_on is None and parent_files(path)[1].is_file()):
        return
    if learnt == "train":
        advice = "`{from: test}` and photos held back in test/ beside train/ are not; `learnt_on: unknown` goes on"
        for name in ("search", "select", "test"):
            if config.problem.splits.cuts[name].from_ == "train":
                message = (
                    f"expected images that the parent has not learnt on, found train, as parent.learnt_on; {advice}"
                )
                yield Fault(("problem", "splits", name, "from"), message, (keys,))
    elif not isinstance(learnt, str):
        for name in learnt:
            if find_parent(str(Path(name).expanduser()), base) is None:
                yield Fault(keys, f"expected train, unknown, or where images are, found {name}, which is not there")


def _card_faults(config: ClassificationConfig, path: Path) -> Iterator[Fault]:
    try:
        data, card = read_parent(path)
        names = tensor_names(data, path)
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
        resolve(config.strategy.scope, names)
    except SpecError as error:
        yield Fault(("strategy", "scope"), str(error), (_CHECKPOINT,))
