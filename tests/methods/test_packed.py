"""Packed-Ensembles: each member is a narrow network by itself, and the numbers of weights are as published."""

from __future__ import annotations

import pytest
import torch
from joints import CLASSES, NETWORKS, SIDE, furthest, images, settled
from torch import nn
from torchvision.models import DenseNet, mobilenet_v2

from evoens.errors import SpecError
from evoens.methods.packed import PackedNetwork
from evoens.tasks.networks.lenet import LeNet
from evoens.tasks.networks.mlp import MLP
from evoens.tasks.networks.resnet import ResNet
from evoens.tasks.networks.wrn import WideResNet

pytestmark = pytest.mark.usefixtures("one_thread")

WIDE = {
    "mlp": lambda width: MLP(CLASSES, 3 * SIDE * SIDE, (24 * width, 16 * width)),
    "resnet": lambda width: ResNet(CLASSES, blocks=(1, 1), width=8 * width),
    "resnet, option A": lambda width: ResNet(CLASSES, blocks=(2, 1), width=8 * width, projection=False),
    "densenet": lambda width: DenseNet(8 * width, (2, 2), 16 * width, 2, num_classes=CLASSES),
    "lenet": lambda width: LeNet(CLASSES, side=SIDE, width=width),
}
"""Networks of a width; one twice as wide makes four members of the single width."""


@pytest.mark.parametrize("name", WIDE)
def test_each_member_is_a_narrow_network(name: str) -> None:
    x, _ = images()
    joint = PackedNetwork(WIDE[name](2), 4)
    settled(joint)
    for network, outputs in zip(joint.networks, joint(x), strict=True):
        narrow = WIDE[name](1).eval()
        assert [str(a) for a in network.modules()] == [str(b) for b in narrow.modules()]
        narrow.load_state_dict(network.state_dict())
        assert torch.equal(narrow(x), outputs)
    sizes = [sum(value.numel() for value in module.parameters()) for module in (joint, WIDE[name](1))]
    assert sizes[0] == 4 * sizes[1]


def test_four_of_width_two_have_about_the_weights_of_one() -> None:
    network = WideResNet(10, depth=16, width=4)
    sizes = [sum(value.numel() for value in module.parameters()) for module in (PackedNetwork(network), network)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


def test_members_drawn_anew_are_as_spread_as_the_networks_own_weights() -> None:
    network = WideResNet(10, depth=10, width=2)
    one, other, *_ = PackedNetwork(network, 4, width=2.0).networks
    for name in ("layer1.0.conv1.weight", "layer3.0.conv2.weight"):
        new, old = one.get_parameter(name).detach(), network.get_parameter(name).detach()
        assert float(new.std() / old.std()) == pytest.approx(2**0.5, rel=0.1)  # a sum of half as many
        assert not torch.equal(new, other.get_parameter(name))


def test_groups_cut_the_inner_convolutions_of_each_member() -> None:
    joint = PackedNetwork(NETWORKS["wrn"](), 2, 2.0, groups=2)
    inner, first = (joint.networks[1].get_submodule(name) for name in ("layer2.0.conv1", "conv1"))
    assert isinstance(inner, nn.Conv2d) and (inner.groups, inner.in_channels) == (2, 16)
    assert isinstance(first, nn.Conv2d) and first.groups == 1
    x, _ = images()
    assert joint.eval()(x).shape == (2, 8, CLASSES)


def test_depthwise_convolutions_stay_depthwise() -> None:
    joint = PackedNetwork(mobilenet_v2(num_classes=CLASSES, width_mult=0.5), 4)
    depthwise = joint.networks[0].get_submodule("features.1.conv.0.0")
    assert isinstance(depthwise, nn.Conv2d) and depthwise.groups == depthwise.in_channels == 8
    assert joint.eval()(torch.randn(2, 3, 32, 32)).shape == (4, 2, CLASSES)


def test_what_cannot_be_narrow_is_named() -> None:
    with pytest.raises(SpecError, match=r"layer 0 \(Linear\): expected a width that can be had 0.5 times, found 3"):
        PackedNetwork(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
    with pytest.raises(SpecError, match=r"layer 1 \(GroupNorm\): expected weights in Linear, .*Norm3d only"):
        PackedNetwork(nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4, 2)))
    with pytest.raises(SpecError, match=r"layer layer1.0.conv1 \(Conv2d\): expected widths that 3 groups divide"):
        PackedNetwork(NETWORKS["wrn"](), groups=3)
    with pytest.raises(SpecError, match=r"width: expected a number > 0, found 0"):
        PackedNetwork(NETWORKS["mlp"](), width=0)


# ---- torch-uncertainty, where it is installed


def test_layers_are_those_of_torch_uncertainty() -> None:
    layers = pytest.importorskip("torch_uncertainty.layers")
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 12, 3, 2, 1), nn.Flatten(), nn.Linear(12 * 25, 2))
    joint, x = PackedNetwork(network, 4, 2.0), torch.randn(3, 3, 9, 9)
    firsts, inners = ([part.get_submodule(name) for part in joint.networks] for name in ("0", "1"))
    first = layers.PackedConv2d(3, 8, 1, 2, 4, 1, first=True)
    inner = layers.PackedConv2d(8, 12, 3, 2, 4, 1, 2, 1, minimum_channels_per_group=1)
    with torch.no_grad():
        for theirs, ours in ((first, firsts), (inner, inners)):
            for name, value in theirs.state_dict().items():
                value.copy_(torch.cat([part.state_dict()[name.rpartition(".")[2]] for part in ours]))
    expected = torch.cat([second(one(x)) for one, second in zip(firsts, inners, strict=True)], 1)
    assert furthest(inner(first(x)), expected) < 1e-5
