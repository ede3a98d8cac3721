"""A layer is read as it is, by its name, and no further; what cannot be read is told."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import Tensor, nn

from evoens.diversity.reading import evaluating, layers, read
from evoens.errors import EvoensError, ShapeError
from evoens.tasks.networks.impala import ImpalaPolicy
from evoens.tasks.networks.lenet import LeNet
from evoens.tasks.networks.resnet import ResNet
from evoens.tasks.networks.wrn import WideResNet


class Odd(nn.Module):
    """A layer called twice, one never, one without an axis of units, one of two outputs; and nothing may go wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.twice, self.never = nn.Linear(4, 4), nn.Linear(4, 4)
        self.total, self.pair = nn.Flatten(0), nn.LSTM(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        try:
            self.total(self.pair(self.twice(self.twice(x)))[0])
        except Exception:
            return x
        raise AssertionError("the network ran on")


def test_what_follows_a_layer_does_not_run_nor_overwrite_it() -> None:
    module = nn.Sequential(nn.Linear(4, 3), nn.ReLU(inplace=True), Odd())
    inputs = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    found = read(module, "0", inputs)
    assert torch.equal(found, nn.functional.linear(inputs, module[0].weight, module[0].bias)) and found.min() < 0
    assert torch.equal(read(module, "1", inputs), found.relu())
    assert not any(part._forward_hooks for part in module.modules())


def test_of_a_layer_called_twice_the_first_is_read() -> None:
    module, inputs = Odd(), torch.ones(2, 4)
    assert torch.equal(read(module, "twice", inputs), module.twice(inputs))


@pytest.mark.parametrize(
    ("layer", "error", "told"),
    [
        ("twise", EvoensError, r'layer "twise": expected one of .*; did you mean "twice"\?'),
        ("never", EvoensError, r'"never": expected one that the network calls'),
        ("total", ShapeError, r'"total": expected an output \(2, units, …\), found \(6,\)'),
        ("pair", ShapeError, r'"pair": expected an output \(2, units, …\), found tuple'),
    ],
)
def test_what_cannot_be_read_is_told(layer: str, error: type[Exception], told: str) -> None:
    class Through(Odd):
        def forward(self, x: Tensor) -> Tensor:
            return self.total(self.pair(self.twice(x))[0])

    module = Through()
    with pytest.raises(error, match=told):
        read(module, layer, torch.ones(2, 4))
    assert not any(part._forward_hooks for part in module.modules())
    assert list(layers(module, torch.ones(2, 4))) == ["twice"]


@pytest.mark.parametrize(
    ("module", "shape", "some"),
    [
        (LeNet(10, width=1), (3, 32, 32), {"conv1": (16, 28, 28), "conv2": (32, 10, 10), "fc1": (256,), "fc3": (10,)}),
        (ResNet(7, blocks=[1, 1], width=4), (3, 16, 16), {"fc": (7,)}),
        (WideResNet(5, depth=10, width=1), (3, 16, 16), {"layer3": (64, 4, 4), "bn": (64, 4, 4), "fc": (5,)}),
        (ImpalaPolicy((4, 4, 4), 6), (6, 64, 64), {"trunk.blocks.0.conv": (4, 64, 64), "head": (15,)}),
        (torchvision.models.squeezenet1_1(), (3, 64, 64), {"features.0": (64, 31, 31), "classifier.1": (1000, 3, 3)}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_layers_are_those_that_can_be_read(
    module: nn.Module, shape: tuple[int, ...], some: dict[str, tuple[int, ...]]
) -> None:
    inputs = torch.rand(2, *shape)
    module.train()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    found = layers(module, inputs)
    assert some.items() <= found.items() and "" not in found
    assert module.training and all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    with evaluating(module), torch.no_grad():
        for name, units in found.items():
            assert read(module, name, inputs).shape == (2, *units)


def test_only_what_trained_trains_again() -> None:
    module = nn.Sequential(nn.Dropout(), nn.Dropout().eval()).train()
    module[1].eval()
    with evaluating(module):
        assert not any(part.training for part in module.modules())
    assert [part.training for part in module.modules()] == [True, True, False]
