"""LeNet against its description."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from evoens.errors import ShapeError
from evoens.tasks.networks.lenet import LeNet


def reference(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """The network from its description, relu right after each convolution."""
    for name in ("conv1", "conv2"):
        x = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"]).clamp(min=0)
        side = x.shape[-1] // 2
        x = x[..., : 2 * side, : 2 * side].unfold(2, 2, 2).unfold(3, 2, 2).amax((-1, -2))
    x = x.flatten(1)
    for name in ("fc1", "fc2"):
        x = (x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]).clamp(min=0)
    return x @ weights["fc3.weight"].T + weights["fc3.bias"]


@pytest.mark.parametrize(("width", "expected"), [(1, 253_290), (2, 1_007_306), (4, 4_017_546)])
def test_the_published_numbers_of_weights(width: int, expected: int) -> None:
    assert sum(p.numel() for p in LeNet(10, width=width).parameters()) == expected


@pytest.mark.parametrize(("channels", "side"), [(3, 32), (1, 28), (3, 17), (1, 16)])
def test_computes_its_description_and_its_gradients(channels: int, side: int) -> None:
    torch.manual_seed(0)
    network = LeNet(7, channels, side, width=1).double()
    weights = {name: w.detach().clone().requires_grad_() for name, w in network.named_parameters()}
    images = torch.randn(3, channels, side, side, dtype=torch.float64)
    before = images.clone()
    found, expected = network(images), reference(weights, images)
    assert found.shape == (3, 7)
    torch.testing.assert_close(found, expected)
    found.square().sum().backward()
    expected.square().sum().backward()
    for name, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, weights[name].grad)
    assert torch.equal(images, before)


@pytest.mark.parametrize("side", [15, 8, 1])
def test_images_that_are_too_small_are_refused(side: int) -> None:
    with pytest.raises(ShapeError, match=rf"LeNet: expected images of 16 × 16 or more, found {side} × {side}"):
        LeNet(10, 1, side)
