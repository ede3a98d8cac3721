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
from evoens.spec import locate

if TYPE_CHECKING:
    from evoens.parent import Architecture

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
    from evoens.parent import Architecture  # noqa: PLC0415 (imports torch)

    own = dict(arguments or {})
    if name in NETWORKS:
        network = NETWORKS[name]
        facts = _facts(name, network.takes, shape)
        return Architecture(network.target, {"classes": classes, **facts, **network.arguments, **own})
    if name.startswith(TORCHVISION):
        if shape[0] != 3:
            raise ShapeError(f"{name}: expected images of 3 channels, found {shape[0]}")
        return Architecture(name, {"num_classes": classes, **own})
    place, _, attribute = name.rpartition(":")
    if not place or not attribute:
        known = f"{', '.join(NETWORKS)}, {TORCHVISION}name or path/to/model.py:name"
        raise SpecError(f'"{name}": expected one of {known}{nearest(name, NETWORKS)}')
    if not place.endswith(".py"):
        return Architecture(name, own)
    found = locate(name, folders)
    return Architecture(f"{found.module}:{attribute}", own, found.sha256)


def _facts(name: str, takes: Sequence[str], shape: tuple[int, int, int]) -> dict[str, int]:
    """Return what a network that `takes` these must know about images of `shape`."""
    channels, height, width = shape
    if "side" in takes and height != width:
        raise ShapeError(f"{name}: expected square images, found {height} × {width}")
    facts = {"channels": channels, "side": height, "features": math.prod(shape)}
    return {key: facts[key] for key in takes}
