"""Wide residual networks against their description."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoens.errors import SpecError
from evoens.tasks.networks.wrn import WideResNet


def reference(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """WRN-10 from the paper's description, in training mode; nothing in place."""

    def active(x: Tensor, name: str) -> Tensor:
        mean, var = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), keepdim=True, unbiased=False)
        x = (x - mean) / (var + 1e-5).sqrt()
        return (x * weights[f"{name}.weight"][:, None, None] + weights[f"{name}.bias"][:, None, None]).clamp(min=0)

    x = F.conv2d(x, weights["conv1.weight"], padding=1)
    for stage in (1, 2, 3):
        name, stride = f"layer{stage}.0", 1 if stage == 1 else 2
        before = active(x, f"{name}.bn1")
        inner = F.conv2d(before, weights[f"{name}.conv1.weight"], stride=stride, padding=1)
        inner = F.conv2d(active(inner, f"{name}.bn2"), weights[f"{name}.conv2.weight"], padding=1)
        kernel = weights.get(f"{name}.shortcut.weight")
        x = inner + (x if kernel is None else F.conv2d(before, kernel, stride=stride))
    return active(x, "bn").mean((2, 3)) @ weights["fc.weight"].T + weights["fc.bias"]


@pytest.mark.parametrize("width", [1, 2])  # with 1 the first stage's shortcut is the input itself
def test_computes_its_description_and_its_gradients(width: int) -> None:
    torch.manual_seed(0)
    network = WideResNet(4, 1, depth=10, width=width).double()
    weights = {name: w.detach().clone().requires_grad_() for name, w in network.named_parameters()}
    images = torch.randn(5, 1, 9, 9, dtype=torch.float64)
    found, expected = network(images), reference(weights, images)
    assert found.shape == (5, 4)
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad)


def test_wrn_28_10_has_the_published_number_of_weights_and_layers() -> None:
    with torch.device("meta"):
        network = WideResNet(10)
    assert sum(p.numel() for p in network.parameters()) == 36_479_194
    kernels = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(kernels) == 28 - 3  # the paper counts the three shortcuts


def test_dropout_is_for_training_only() -> None:
    torch.manual_seed(0)
    dropping, plain = WideResNet(3, depth=10, width=1, dropout=0.5), WideResNet(3, depth=10, width=1)
    plain.load_state_dict(dropping.state_dict())
    images = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        assert not torch.equal(dropping(images), dropping(images))
        plain.load_state_dict(dropping.state_dict())
        assert torch.equal(dropping.eval()(images), plain.eval()(images))


@pytest.mark.parametrize("depth", [27, 4, 0])
def test_a_depth_that_does_not_divide_is_refused(depth: int) -> None:
    with pytest.raises(SpecError, match=f"expected a depth of 10, 16, 22, 28 and so on, found {depth}"):
        WideResNet(10, depth=depth, width=1)


def test_starts_with_he_weights() -> None:
    torch.manual_seed(0)
    conv = WideResNet(10, depth=10, width=2).layer3[0].conv2.weight
    assert conv.std().item() == pytest.approx(math.sqrt(2 / (9 * 128)), rel=0.02)
