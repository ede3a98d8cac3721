"""The two ends of a network, on all kinds that ship and on some of other libraries."""

from __future__ import annotations

import pytest
import torch
from joints import NETWORKS
from model_zoo import build
from torch import Tensor, nn

from evoens.errors import EvoensError, SpecError
from evoens.graph.ends import first_layers, last_layer, traced
from evoens.network.adapt import adapted

ENDS = {
    "mlp": ("layers.0", "layers.4"),
    "lenet": ("conv1", "fc3"),
    "resnet": ("conv1", "fc"),
    "resnet, option A": ("conv1", "fc"),
    "wrn": ("conv1", "fc"),
    "densenet": ("features.conv0", "classifier"),
}
OTHERS = {
    "resnet18": ("conv1", "fc"),
    "squeezenet1_1": ("features.0", "classifier.1"),
    "mobilenet_v3_small": ("features.0.0", "classifier.3"),
    "googlenet": ("conv1.conv", "fc"),
}


def ends(network: nn.Module) -> tuple[list[str], str]:
    graph = traced(network)
    return first_layers(network, graph), last_layer(network, graph)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_ends_of_networks_that_ship(name: str) -> None:
    first, last = ENDS[name]
    assert ends(NETWORKS[name]()) == ([first], last)


@pytest.mark.parametrize("name", OTHERS)
def test_the_ends_of_other_networks_under_what_takes_their_logits(name: str) -> None:
    first, last = OTHERS[name]
    assert ends(adapted(build("torchvision", name), name)) == ([first], last)


class Two(nn.Module):
    """Inputs that two layers take, after something without weights."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(4, 3), nn.Linear(4, 3), nn.Linear(3, 2)
        self.mean = nn.Parameter(torch.zeros(4))
        self.own = False

    def forward(self, x: Tensor) -> Tensor:
        x = 2 * (x - self.mean) if self.own else 2 * x
        return self.head(self.a(x) + self.b(x).relu())  # type: ignore[no-any-return]


def test_all_layers_that_take_the_inputs_are_found() -> None:
    assert ends(Two()) == (["a", "b"], "head")


def test_inputs_that_meet_a_tensor_by_itself_are_refused() -> None:
    network = Two()
    network.own = True
    with pytest.raises(SpecError, match=r"mean: expected the inputs to go into layers, found a tensor by itself"):
        ends(network)


def test_what_comes_after_the_last_layer_must_leave_logits_to_themselves() -> None:
    with pytest.raises(SpecError, match=r"softmax|Softmax"):
        ends(nn.Sequential(nn.Linear(4, 2), nn.Softmax(1)))
    with pytest.raises(EvoensError, match=r"expected the last layer to give the logits"):
        ends(nn.Sequential(nn.ReLU(), nn.Softmax(1)))
