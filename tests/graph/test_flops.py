"""The cost of a forward pass: by hand, and the module as it was."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torchvision.models import vit_b_16

from evoens.graph.flops import flops, nonzero_flops, operations
from evoens.tasks.networks.impala import ImpalaPolicy
from evoens.tasks.networks.lenet import LeNet


def test_lenet_by_hand() -> None:
    convolutions = 28 * 28 * 16 * 3 * 25 + 10 * 10 * 32 * 16 * 25
    linear = 32 * 5 * 5 * 256 + 256 * 128 + 128 * 10
    assert flops(LeNet(10, width=1), (3, 32, 32)) == 2 * (convolutions + linear) == 4_919_296


def test_what_is_no_convolution_and_no_product_is_free() -> None:
    assert flops(nn.Sequential(nn.ReLU(), nn.BatchNorm2d(3), nn.MaxPool2d(2)), (3, 8, 8)) == 0
    assert flops(nn.Linear(4, 3, bias=False), (5, 4)) == flops(nn.Linear(4, 3), (5, 4)) == 2 * 5 * 4 * 3


@pytest.mark.parametrize("frozen", [False, True])
def test_attention_is_counted_though_inference_fuses_it(frozen: bool) -> None:
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval().requires_grad_(not frozen)
    products = 5 * 16 * 48 + 5 * 16 * 16 + 2 * 5 * 16 * 32  # to queries, keys and values; from heads; feed-forward
    with torch.inference_mode(frozen):
        assert flops(layer, (5, 16)) == 2 * (products + 2 * 5 * 5 * 16)


@pytest.mark.parametrize(("kind", "gates"), [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
@pytest.mark.parametrize("directions", [1, 2])
def test_recurrent_layers_are_counted_step_by_step(kind: type[nn.RNNBase], gates: int, directions: int) -> None:
    """Two layers over 5 steps: from 3 inputs and 8 units, then from what both directions gave and 8 units."""
    layer = kind(3, 8, num_layers=2, bidirectional=directions == 2, batch_first=True).eval()
    products = 5 * directions * gates * 8 * ((3 + 8) + (8 * directions + 8))
    assert flops(layer, (5, 3)) == 2 * products


@pytest.mark.slow
def test_a_vision_transformer_costs_what_is_published() -> None:
    assert flops(vit_b_16(), (3, 224, 224)) / 2e9 == pytest.approx(17.56, abs=0.01)


def test_the_module_stays_as_it_is() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(), nn.Linear(144, 2))
    module[0].requires_grad_(False)
    module[3].eval()
    before = copy.deepcopy(module.state_dict())
    flops(module.train(), (3, 8, 8))
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert [p.requires_grad for p in module.parameters()] == [False, False, True, True, True, True]
    assert all(p.grad is None for p in module.parameters()) and module[0].training


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_precision_costs_the_same(dtype: torch.dtype) -> None:
    policy = ImpalaPolicy((4, 4, 4), 6)
    assert flops(policy.to(dtype), (6, 64, 64)) == flops(ImpalaPolicy((4, 4, 4), 6), (6, 64, 64)) > 0


def test_operations_are_those_of_each_layer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 5))
    found = operations(network, torch.zeros(2, 3, 8, 8))
    convolution, linear = 2 * 2 * 36 * 4 * 27, 2 * 2 * 144 * 5
    assert found.by_weight == {"0.weight": convolution, "3.weight": linear} and found.total == convolution + linear
    assert found.at({"0.weight": 0.25}) == convolution / 4 + linear
    assert found.at({}) == found.total


def test_a_weight_that_is_zero_costs_nothing() -> None:
    network = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    assert nonzero_flops(network, (6,)) == flops(network, (6,)) == 2 * (48 + 24)
    with torch.no_grad():
        network[0].weight[:4] = 0
    assert nonzero_flops(network, (6,)) == 2 * (24 + 24) and flops(network, (6,)) == 2 * (48 + 24)
