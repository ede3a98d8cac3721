"""Residual networks: torchvision's blocks, the paper's shortcuts without weights, and the fused passes."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import resnet18

from evoens.parent import fuse
from evoens.tasks.networks import fused
from evoens.tasks.networks.resnet import BasicBlock, Padding, ResNet

needs_onednn = pytest.mark.skipif(not fused.available(torch.float32), reason="this torch has no fused convolutions")


def trained(network: nn.Module) -> nn.Module:
    """Normalisation as it is after training, when no statistic is 0 or 1."""
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for tensor, low, high in (
                (layer.weight, 0.5, 1.5),
                (layer.bias, -0.3, 0.3),
                (layer.running_mean, -0.3, 0.3),
                (layer.running_var, 0.5, 1.5),
            ):
                nn.init.uniform_(tensor, low, high)
    return network.eval()


def torchvisions() -> nn.Module:
    """torchvision's ResNet-18 with the stem for small images."""
    network = resnet18(num_classes=10)
    network.conv1, network.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    return network


def reference(weights: dict[str, Tensor], x: Tensor, stages: int) -> Tensor:
    """Three-stage networks of one block a stage without projections, from the paper's description; training mode."""

    def conv(x: Tensor, name: str, norm: str, stride: int = 1) -> Tensor:
        x = F.conv2d(x, weights[f"{name}.weight"], stride=stride, padding=1)
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
        x = (x - mean) / (var + 1e-5).sqrt()
        return x * weights[f"{norm}.weight"][:, None, None] + weights[f"{norm}.bias"][:, None, None]

    x = conv(x, "conv1", "bn1").clamp(min=0)
    for stage in range(1, stages + 1):
        name, stride = f"layer{stage}.0", 1 if stage == 1 else 2
        inner = conv(x, f"{name}.conv1", f"{name}.bn1", stride).clamp(min=0)
        inner = conv(inner, f"{name}.conv2", f"{name}.bn2")
        beside = torch.zeros_like(inner).index_add(1, torch.arange(x.shape[1]), x[:, :, ::stride, ::stride])
        x = (inner + beside).clamp(min=0)
    return x.mean((2, 3)) @ weights["fc.weight"].T + weights["fc.bias"]


def test_resnet_18_is_torchvisions() -> None:
    torch.manual_seed(0)
    theirs, ours = trained(torchvisions()), ResNet(10)
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(ours.eval()(images), theirs(images))
        features = torch.randn(2, 64, 8, 8)
        torch.testing.assert_close(ours.layer2(features), theirs.layer2(features))
    assert sum(p.numel() for p in ours.parameters()) == 11_173_962
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]


def test_a_block_learns_as_torchvisions_does() -> None:
    torch.manual_seed(0)
    theirs, ours = resnet18().layer2[0].double(), BasicBlock(64, 128, 2).double()
    ours.load_state_dict(theirs.state_dict())
    inputs = [torch.randn(3, 64, 6, 6, dtype=torch.float64).requires_grad_() for _ in range(2)]
    inputs[1].data.copy_(inputs[0].data)
    for block, x in zip((ours, theirs), inputs, strict=True):
        block(x).square().sum().backward()
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)
    for (name, one), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, msg=name)
    torch.testing.assert_close(ours.bn2.running_var, theirs.bn2.running_var)


def test_the_papers_network_from_its_description_with_gradients() -> None:
    torch.manual_seed(0)
    network = ResNet(4, 1, [1, 1, 1], width=3, projection=False).double()
    weights = {name: w.detach().clone().requires_grad_() for name, w in network.named_parameters()}
    images = torch.randn(5, 1, 9, 9, dtype=torch.float64)
    found, expected = network(images), reference(weights, images, 3)
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad)


def test_resnet_56_has_56_layers_and_no_weights_on_shortcuts() -> None:
    network = ResNet(10, blocks=[9, 9, 9], width=16, projection=False)
    assert sum(isinstance(m, nn.Conv2d | nn.Linear) for m in network.modules()) == 56
    assert sum(p.numel() for p in network.parameters()) == 853_018
    assert sum(isinstance(m, Padding) for m in network.modules()) == 2


def test_inference_does_not_depend_on_the_batch() -> None:
    torch.manual_seed(0)
    network = trained(ResNet(4, 3, [1, 2], width=8))
    before = copy.deepcopy(network.state_dict())
    images = torch.randn(4, 3, 8, 8)
    with torch.inference_mode():
        together = network(images)
        for place in range(4):
            torch.testing.assert_close(network(images[place : place + 1]), together[place : place + 1])
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_starts_with_he_weights() -> None:
    torch.manual_seed(0)
    conv = ResNet(10, blocks=[1, 1], width=32).layer2[0].conv2.weight
    assert conv.std().item() == pytest.approx(math.sqrt(2 / (9 * 64)), rel=0.02)


@needs_onednn
@pytest.mark.parametrize("n", [1, 5])
@pytest.mark.parametrize("projection", [True, False])
def test_a_fused_network_answers_as_the_plain_one(projection: bool, n: int) -> None:
    torch.manual_seed(0)
    plain = trained(ResNet(10, 3, [2, 2, 1], 16, projection)).to(memory_format=torch.channels_last)
    quick = copy.deepcopy(plain)
    images = torch.randn(n, 3, 16, 16).contiguous(memory_format=torch.channels_last)
    before = images.clone()
    with torch.inference_mode():
        fuse(quick)
        assert all(m.fused for m in quick.modules() if isinstance(m, BasicBlock))
        torch.testing.assert_close(quick(images), plain(images), rtol=0, atol=1e-5)
        for network in (plain, quick):  # another child
            network.layer2[0].conv2.weight.add_(0.1)
        fuse(quick)
        torch.testing.assert_close(quick(images), plain(images), rtol=0, atol=1e-5)
    assert torch.equal(images, before)


def test_where_there_is_no_such_pass_the_network_stays_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(packed: fused.Convolution, x: Tensor) -> Tensor:
        raise AttributeError("no such operator")

    monkeypatch.setattr(fused.Convolution, "relu", missing)
    fused.available.cache_clear()
    network = ResNet(2, 1, [1], 4).eval()
    fuse(network)
    fused.available.cache_clear()
    assert not any(m.fused for m in network.modules() if isinstance(m, BasicBlock))
