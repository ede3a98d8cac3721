"""Packed-Ensembles: each member is a narrow network by itself, and the numbers of weights are as published."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from joints import CLASSES, NETWORKS, SIDE, furthest, images, settled
from torch import Tensor, nn
from torchvision.models import DenseNet, mobilenet_v2

from evoens.errors import SpecError
from evoens.methods.packed import Grouped, GroupedLinear, Packed, beneath, beside
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


def member(joint: Packed, narrow: nn.Module, place: int) -> nn.Module:
    """The narrow network with one member's weights."""
    state = joint.state_dict()
    with torch.no_grad():
        for name, value in narrow.state_dict().items():
            around, _, last = name.rpartition(".")
            own = state[f"network.{around}.layer.{last}"]
            value.copy_(own.view(joint.members, *value.shape)[place] if value.dim() else own)
    return narrow.eval()


@pytest.mark.parametrize("name", WIDE)
def test_each_member_is_a_narrow_network_by_itself(name: str) -> None:
    x, _ = images()
    joint = Packed(WIDE[name](2), 4)
    settled(joint)
    narrow = WIDE[name](1)
    expected = torch.stack([member(joint, narrow, place)(x) for place in range(4)])
    assert furthest(joint(x), expected) < 1e-4 * float(expected.abs().max())
    sizes = [sum(value.numel() for value in module.parameters()) for module in (joint, narrow)]
    assert sizes[0] == 4 * sizes[1]


def test_four_of_width_two_have_about_the_weights_of_one() -> None:
    network = WideResNet(10, depth=16, width=4)
    sizes = [sum(value.numel() for value in module.parameters()) for module in (Packed(network), network)]
    assert sizes[0] == pytest.approx(sizes[1], rel=0.02)


def test_members_drawn_anew_are_as_spread_as_the_networks_own_weights() -> None:
    network = WideResNet(10, depth=10, width=2)
    joint = Packed(network, 4, width=2.0)
    for name in ("layer1.0.conv1", "layer3.0.conv2"):
        ratio = (
            joint.network.get_parameter(f"{name}.layer.weight").std() / network.get_parameter(f"{name}.weight").std()
        )
        assert float(ratio) == pytest.approx(2**0.5, rel=0.05)  # a sum of half as many


def test_groups_cut_the_inner_layers_of_each_member() -> None:
    joint = Packed(NETWORKS["wrn"](), 2, 2.0, groups=2)
    convolution = joint.network.get_submodule("layer2.0.conv1.layer")
    assert isinstance(convolution, nn.Conv2d) and convolution.groups == 4 and convolution.in_channels == 32
    assert joint.network.get_submodule("conv1.layer").groups == 2  # type: ignore[comparison-overlap]
    x, _ = images()
    assert joint.eval()(x).shape == (2, 8, CLASSES)


def test_depthwise_convolutions_stay_depthwise() -> None:
    joint = Packed(mobilenet_v2(num_classes=CLASSES, width_mult=0.5), 4)
    depthwise = joint.network.get_submodule("features.1.conv.0.0.layer")
    assert isinstance(depthwise, nn.Conv2d) and depthwise.groups == depthwise.in_channels
    assert joint.eval()(torch.randn(2, 3, 32, 32)).shape == (4, 2, CLASSES)


def test_a_grouped_convolution_is_one_of_each_member() -> None:
    layer, x = Grouped(nn.Conv2d(4, 6, 2, groups=2), 2).double(), torch.randn(6, 2, 3, 3).double()
    inner, found = layer.layer, torch.zeros(6, 3, 2, 2).double()
    assert isinstance(inner, nn.Conv2d) and inner.bias is not None
    for n, o, h, w in product(range(6), range(3), range(2), range(2)):
        row = n // 3 * 3 + o
        total = float(inner.bias[row])
        for c, a, b in product(range(2), range(2), range(2)):
            total += float(inner.weight[row, c, a, b] * x[n, c, h + a, w + b])
        found[n, o, h, w] = total
    assert furthest(layer(x), found) < 1e-12


@pytest.mark.parametrize("groups", [1, 2])
def test_a_grouped_linear_layer_is_one_of_each_member(groups: int) -> None:
    layer, x = GroupedLinear(nn.Linear(4 // groups, 2 * 6), 2, groups).double(), torch.randn(6, 4).double()
    found = torch.zeros(6, 6).double()
    for n, o in product(range(6), range(6)):
        row, part = n // 3 * 6 + o, o // (6 // groups) * (4 // groups)
        inner = sum(float(layer.layer.weight[row, j] * x[n, part + j]) for j in range(4 // groups))
        found[n, o] = inner + layer.layer.bias[row]
    assert furthest(layer(x), found) < 1e-12


def test_beside_and_beneath_are_inverse() -> None:
    x = torch.arange(2 * 3 * 4).float().view(6, 4, 1, 1)
    assert torch.equal(beside(x, 2)[1, :, 0, 0], torch.cat([x[1], x[4]])[:, 0, 0])
    assert torch.equal(beneath(beside(x, 2), 2), x)


def test_what_cannot_be_narrow_is_named() -> None:
    with pytest.raises(SpecError, match=r"layer 0 \(Linear\): expected a width that can be had 0.5 times, found 3"):
        Packed(nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2)))
    with pytest.raises(SpecError, match=r"layer 1 \(GroupNorm\): expected weights in Linear, .*Norm3d only"):
        Packed(nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(4, 2)))
    with pytest.raises(SpecError, match=r"layer 1 \(Linear\): expected widths that 3 groups divide, found 2 and 4"):
        Packed(nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 8), nn.Linear(8, 2)), groups=3)
    with pytest.raises(SpecError, match=r"width: expected more than 0, found 0"):
        Packed(NETWORKS["mlp"](), width=0)


# ---- torch-uncertainty, where it is installed


def test_layers_are_those_of_torch_uncertainty() -> None:
    layers = pytest.importorskip("torch_uncertainty.layers")
    inner = layers.PackedConv2d(8, 12, 3, 2, 4, 1, 2, 1, minimum_channels_per_group=1)
    state: dict[str, Tensor] = inner.state_dict()
    (weight,) = (value for name, value in state.items() if name.endswith("weight"))
    (bias,) = (value for name, value in state.items() if name.endswith("bias"))
    ours = Grouped(nn.Conv2d(16, 24, 3, 2, 1, groups=4), 4)
    ours.load_state_dict({"layer.weight": weight, "layer.bias": bias})
    x = torch.randn(12, 4, 9, 9)
    assert furthest(ours(x), beneath(inner(beside(x, 4)), 4)) < 1e-5

    linear = layers.PackedLinear(8, 12, 2, 4, 1)
    state = linear.state_dict()
    (weight,) = (value for name, value in state.items() if name.endswith("weight"))
    (bias,) = (value for name, value in state.items() if name.endswith("bias"))
    own = GroupedLinear(nn.Linear(4, 24), 4, 1)
    own.load_state_dict({"layer.weight": weight.view(24, 4), "layer.bias": bias})
    given = torch.randn(12, 4)
    assert furthest(own(given), beneath(linear(beside(given, 4)), 4)) < 1e-5
