"""Networks with several members, and the small networks that they are made of, for tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import DenseNet

from evoens.methods.batch_ensemble import BatchEnsembleNetwork
from evoens.methods.joint import Joint
from evoens.methods.masksembles import MasksemblesNetwork
from evoens.methods.mimo import MIMONetwork
from evoens.methods.packed import PackedNetwork
from evoens.methods.tree_net import TreeNetwork
from evoens.tasks.networks.lenet import LeNet
from evoens.tasks.networks.mlp import MLP
from evoens.tasks.networks.resnet import ResNet
from evoens.tasks.networks.wrn import WideResNet

CLASSES, SIDE = 4, 16

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "mlp": partial(MLP, CLASSES, 3 * SIDE * SIDE, (24, 16)),
    "lenet": partial(LeNet, CLASSES, side=SIDE, width=1),
    "resnet": partial(ResNet, CLASSES, blocks=(1, 1), width=8),
    "resnet, option A": partial(ResNet, CLASSES, blocks=(2, 1), width=8, projection=False),
    "wrn": partial(WideResNet, CLASSES, depth=10, width=1),
    "densenet": partial(DenseNet, 8, (2, 2), 16, 2, num_classes=CLASSES),
}
WAYS: dict[str, Callable[[nn.Module], Joint]] = {
    "batch-ensemble": BatchEnsembleNetwork,
    "mimo": MIMONetwork,
    "tree-net": TreeNetwork,
    "masksembles": MasksemblesNetwork,
    "packed": PackedNetwork,
}


def images(n: int = 8) -> tuple[Tensor, Tensor]:
    """Return inputs and classes; channels lie last in memory, as in training."""
    x = torch.randn(n, 3, SIDE, SIDE).to(memory_format=torch.channels_last)
    return x, torch.arange(n) % CLASSES


def settled(network: nn.Module) -> nn.Module:
    """Return a network in eval mode, whose normalisation has seen something, and has weights of its own."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)  # type: ignore[union-attr]
            layer.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.2)
    return network.eval()


def furthest(found: Tensor, expected: Tensor) -> float:
    """Return the largest difference."""
    assert found.shape == expected.shape
    return float((found.double() - expected.double()).abs().max().detach())


def loss(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of the members' cross-entropies."""
    return torch.stack([F.cross_entropy(own, target) for own, target in zip(outputs, targets, strict=True)]).mean()
