"""Ensembles to deploy: of the networks that ship, small, and of torchvision's, with random weights."""

from __future__ import annotations

from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from evoens.ensemble import Ensemble
from evoens.parent import Architecture, Parent
from evoens.plugins.spec import load_class, locate
from evoens.strategy import Strategy

OURS = "evoens.tasks.networks"
SHIPPED: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "lenet": (f"{OURS}.lenet:LeNet", {"classes": 10, "width": 1}, (3, 32, 32)),
    "mlp": (f"{OURS}.mlp:MLP", {"classes": 4, "features": 20}, (20,)),
    "resnet": (f"{OURS}.resnet:ResNet", {"classes": 10, "blocks": [1, 1], "width": 8}, (3, 16, 16)),
    "wrn": (f"{OURS}.wrn:WideResNet", {"classes": 10, "depth": 10, "width": 1}, (3, 16, 16)),
    "impala": (f"{OURS}.impala:ImpalaPolicy", {"widths": [4, 8, 8], "in_channels": 3}, (3, 64, 64)),
}
SIDES = {
    **dict.fromkeys(("resnet18", "mobilenet_v2", "densenet121", "shufflenet_v2_x1_0", "squeezenet1_1", "vgg11"), 64),
    **{"resnext50_32x4d": 64, "alexnet": 64, "vit_b_16": 224, "swin_t": 64, "convnext_tiny": 64},
}
TORCHVISION = {
    name: (f"torchvision.models:{name}", {"num_classes": 5}, (3, side, side)) for name, side in SIDES.items()
}
NETWORKS = SHIPPED | TORCHVISION
MEMBERS = 3


def parent_of(name: str) -> tuple[Parent, Tensor]:
    """A network of random weights and statistics, and inputs that it takes."""
    target, arguments, shape = NETWORKS[name]
    torch.manual_seed(0)
    architecture = Architecture(target, arguments)
    module = architecture.build()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.5, 1.5)
    return Parent(module, architecture), torch.randn(4, *shape)


def ensemble_of(name: str, *, scoped: bool = False, **more: Any) -> tuple[Ensemble, Tensor]:
    """Three children, of the last layer alone or of all, and inputs."""
    parent, inputs = parent_of(name)
    strategy = load_class(locate("noisy"), Strategy)(sigma=0.02, density=0.5, parts=2)
    strategy = strategy.within(scope=parent.perturbed[-1:] if scoped else (), parent=parent)
    genomes = strategy.ask(MEMBERS, Random(0))
    return Ensemble(parent, strategy, more.pop("genomes", genomes), **{"temperature": 1.5, **more}), inputs
