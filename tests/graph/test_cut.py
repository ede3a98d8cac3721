"""A network cut in two computes what the whole one does, and what is shared is shared."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import densenet121, resnet18

from evoens.graph.cut import cut, traces
from evoens.tasks.networks.impala import ImpalaPolicy

FRAMES = torch.randint(0, 256, (3, 6, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))

CUTS: dict[str, tuple[Callable[[], nn.Module], Tensor, tuple[str, ...]]] = {
    "a linear layer": (lambda: ImpalaPolicy((4, 6, 8), 6), FRAMES, ("trunk.linear.weight",)),
    "the last": (lambda: ImpalaPolicy((4, 6, 8), 6), FRAMES, ("head.weight",)),
    "in a residual": (lambda: ImpalaPolicy((4, 6, 8), 6), FRAMES, ("trunk.blocks.2.res1.conv1.weight",)),
    "two": (lambda: ImpalaPolicy((4, 6, 8), 6), FRAMES, ("trunk.blocks.1.res0.conv0.weight", "head.weight")),
    "added to what is shared": (resnet18, IMAGES, ("layer4.1.conv2.weight",)),
    "beside the main path": (resnet18, IMAGES, ("layer3.0.downsample.0.weight",)),
    "concatenation": (densenet121, IMAGES, ("features.denseblock4.denselayer16.conv2.weight",)),
}


@pytest.mark.parametrize("name", CUTS)
@torch.inference_mode()
def test_trunk_and_tail_are_the_whole(name: str) -> None:
    torch.manual_seed(0)
    build, inputs, touched = CUTS[name]
    module = build().eval()
    before = copy.deepcopy(module.state_dict())
    found = cut(module, touched)
    assert found is not None
    assert not set(touched) & set(found.trunk.state_dict()) and set(touched) <= set(found.tail.state_dict())
    features = found.trunk(inputs)
    child, tail = copy.deepcopy(module), copy.deepcopy(found.tail)
    for one in touched:  # another child, then the first again: it must find the features as they were
        for network in (child, tail):
            network.get_parameter(one).add_(0.1)
    assert torch.equal(tail(*features), child(inputs))
    assert torch.equal(found.tail(*features), module(inputs)) and not torch.equal(child(inputs), module(inputs))
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


class Branches(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return self.last(-x if x.sum() > 0 else x)  # type: ignore[no-any-return]


class Statement(Branches):
    """What the touched layer gives is written into what is shared, and that is used later."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        x.add_(self.first(x))
        return self.last(x)  # type: ignore[no-any-return]


class Earlier(Branches):
    """The touched layer reads what is shared before it is changed."""

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(x)
        first = self.first(x)
        return self.last(x.mul_(2)) + first[:, :2]  # type: ignore[no-any-return]


class Writes(Branches):
    """What the touched layer gives is written into what is shared, and only the sum is used."""

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(x).add_(self.first(x)))  # type: ignore[no-any-return]


class Stemmed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem, self.writes = nn.Linear(4, 4), Writes()

    def forward(self, x: Tensor) -> Tensor:
        return self.writes(self.stem(x))  # type: ignore[no-any-return]


def test_what_the_tail_writes_into_the_next_child_finds_as_it_was() -> None:
    module = Stemmed()
    found = cut(module, ["writes.first.weight"])
    assert found is not None
    x = torch.randn(5, 4)
    with torch.inference_mode():
        features = found.trunk(x)
        assert all(torch.equal(found.tail(*features), module(x)) for _ in range(3))


@pytest.mark.parametrize(
    ("module", "touched"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2)), ["0.weight"]),  # it meets the inputs
        (Branches(), ["last.weight"]),  # it cannot be traced
        (Statement(), ["first.weight"]),
        (Earlier(), ["first.weight"]),
        (ImpalaPolicy((4, 4, 4), 6), []),
    ],
    ids=["first layer", "branches", "statement", "earlier", "nothing touched"],
)
def test_what_cannot_be_cut_stays_whole(module: nn.Module, touched: list[str]) -> None:
    assert cut(module, touched) is None


def test_in_place_layers_of_the_tail_leave_the_trunk_for_the_next_child() -> None:
    module = nn.Sequential(
        nn.Linear(4, 4), nn.Sequential(nn.ReLU(inplace=True), nn.Linear(4, 2)), nn.ReLU(inplace=True)
    )
    found = cut(module, ["1.1.weight"])
    assert found is not None
    x = torch.randn(5, 4)
    with torch.inference_mode():
        features = found.trunk(x)
        assert all(torch.equal(found.tail(*features), module(x.clone())) for _ in range(2))


def test_whether_a_network_can_be_traced_is_known() -> None:
    assert traces(ImpalaPolicy((4, 4, 4), 6), ["head.weight"])
    assert not traces(Branches(), ["last.weight"])


def test_other_threads_go_on_while_a_network_is_traced() -> None:
    policy, failed, stop = ImpalaPolicy((4, 4, 4), 6).eval(), [], threading.Event()

    def predict() -> None:
        expected = policy(FRAMES)
        while not stop.is_set():
            try:
                assert torch.equal(policy(FRAMES), expected)
            except BaseException as error:
                failed.append(error)
                return

    with torch.inference_mode():
        thread = threading.Thread(target=torch.inference_mode()(predict))
        thread.start()
        found = [cut(policy, ["head.weight"]) for _ in range(20)]
        stop.set()
        thread.join()
    assert failed == [] and all(found)
