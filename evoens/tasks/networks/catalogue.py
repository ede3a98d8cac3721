"""The classifiers that a YAML can name: ours, torchvision's, and those in a user's own file.

Importing this imports no torch, so that a YAML is checked at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evoens.errors import ShapeError, SpecError, nearest
from evoens.plugins.spec import Located, locate

if TYPE_CHECKING:
    from evoens.architecture import Architecture

TORCHVISION = "torchvision.models:"


@dataclass(frozen=True, slots=True)
class Network:
    """One of ours: its class, which of `channels`, `side` and `features` it takes, and what makes it this one."""

    target: str
    takes: tuple[str, ...]
    arguments: dict[str, Any] = field(default_factory=dict)


_LENET, _RESNET = "evoens.tasks.networks.lenet:LeNet", "evoens.tasks.networks.resnet:ResNet"

NETWORKS: dict[str, Network] = {
    "lenet-s": Network(_LENET, ("channels", "side"), {"width": 1}),
    "lenet-m": Network(_LENET, ("channels", "side"), {"width": 2}),
    "lenet-l": Network(_LENET, ("channels", "side"), {"width": 4}),
    "resnet-18": Network(_RESNET, ("channels",), {"blocks": [2, 2, 2, 2], "width": 64}),
    "resnet-56": Network(_RESNET, ("channels",), {"blocks": [9, 9, 9], "width": 16, "projection": False}),
    "wrn-28-10": Network("evoens.tasks.networks.wrn:WideResNet", ("channels",), {"depth": 28, "width": 10}),
    "mlp": Network("evoens.tasks.networks.mlp:MLP", ("features",)),
}


def architecture(
    name: str,
    classes: int,
    shape: tuple[int, int, int],
    arguments: Mapping[str, Any] | None = None,
    folders: Sequence[Path] = (Path(),),
) -> Architecture:
    """Return how to build the classifier `name`.

    Args:
        name: a name in `NETWORKS`, `torchvision.models:resnet50`, `path/to/model.py:build` (a torch.nn.Module class or
            a function that returns a module), or `package.module:Class`.
        classes: how many logits; torchvision's get it as `num_classes`, a user's own must be told in `arguments`.
        shape: of one image: channels, height, width.
        arguments: further keyword arguments, JSON values; they come before those that the name implies.
        folders: where a relative path is looked for.

    Raises:
        SpecError: there is no such network, with the nearest name, or no such file.
        ShapeError: the network takes square images only, or colour only.
    """
    from evoens.architecture import Architecture  # noqa: PLC0415 (imports torch)

    own = dict(arguments or {})
    if name in NETWORKS:
        network = NETWORKS[name]
        facts = _facts(name, network.takes, shape)
        return Architecture(network.target, {"classes": classes, **facts, **network.arguments, **own})
    if name.startswith(TORCHVISION):
        if shape[0] != 3:
            raise ShapeError(
                f"{name}: expected images of 3 channels, found {shape[0]}; `problem.channels: 3` gives them three"
            )
        return Architecture(name, {"num_classes": classes, **own})
    found = locate_network(name, folders)
    if found is not None and found.code is not None:
        return Architecture.of(found.code, str(found.name), own)
    return Architecture(name, own)


def locate_network(name: str, folders: Sequence[Path]) -> Located | None:
    """Return where a network of a user's own is, without importing it; None for ours and for torchvision's.

    Args:
        name: see `architecture`.
        folders: where a relative path is looked for.

    Raises:
        SpecError: there is no such file or module, or no name that one could mean; the message has the nearest.
    """
    if name in NETWORKS or name.startswith(TORCHVISION):
        return None
    place, _, attribute = name.rpartition(":")
    if attribute and place.endswith(".py"):
        return locate(name, folders)
    try:
        found = locate(name) if attribute and "/" not in place else None
    except SpecError:
        found = None
    if found is None:
        known = f"{', '.join(NETWORKS)}, {TORCHVISION}name, path/to/model.py:name or package.module:Class"
        raise SpecError(f'"{name}": expected one of {known}{nearest(name, NETWORKS)}')
    return found


def _facts(name: str, takes: Sequence[str], shape: tuple[int, int, int]) -> dict[str, int]:
    """Return what a network that `takes` these must know about images of `shape`."""
    channels, height, width = shape
    if "side" in takes and height != width:
        raise ShapeError(f"{name}: expected square images, found {height} × {width}")
    facts = {"channels": channels, "side": height, "features": math.prod(shape)}
    return {key: facts[key] for key in takes}
