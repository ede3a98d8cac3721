"""From a name in a YAML to a network; and what every classifier must bear: to be cut, fused, mapped and rebuilt."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

from evoens.errors import ShapeError, SpecError
from evoens.graph.cut import cut
from evoens.parent import Architecture, Parent, fuse
from evoens.tasks.networks.catalogue import NETWORKS, architecture
from evoens.tasks.networks.lenet import LeNet
from evoens.tasks.networks.mlp import MLP
from evoens.tasks.networks.resnet import ResNet
from evoens.tasks.networks.wrn import WideResNet

SMALL: dict[str, Callable[[], nn.Module]] = {
    "lenet": lambda: LeNet(5, 3, 16, width=1),
    "resnet": lambda: ResNet(5, 3, [2, 2, 2], width=8),
    "resnet without projections": lambda: ResNet(5, 3, [2, 2, 2], width=8, projection=False),
    "wrn": lambda: WideResNet(5, 3, depth=16, width=1),
    "mlp": lambda: MLP(5, 3 * 16 * 16, [8, 8]),
}
IMAGES = torch.randn(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
FILE = """
from torch import nn
from torch.nn import functional as F
def build(features, classes=2):
    return nn.Sequential(nn.Flatten(), Own(features, classes))
class Own(nn.Linear):
    pass
"""


def small(name: str) -> nn.Module:
    """A network whose normalisation is as after some training."""
    torch.manual_seed(0)
    network = SMALL[name]()
    with torch.no_grad():
        network(IMAGES * 2 + 1)
    return network.eval()


# ---- every classifier


@pytest.mark.parametrize("name", SMALL)
@torch.inference_mode()
def test_cut_anywhere_trunk_and_tail_are_the_whole(name: str) -> None:
    module = small(name)
    expected = module(IMAGES)
    for touched in Parent(module, Architecture("")).perturbed[1:]:
        found = cut(module, [touched])
        assert found is not None and touched not in found.trunk.state_dict()
        features = found.trunk(IMAGES)
        assert torch.equal(found.tail(*features), expected), touched
        assert torch.equal(found.tail(*features), expected), f"{touched}: the features were changed"


@pytest.mark.parametrize("name", SMALL)
@torch.inference_mode()
def test_cut_and_fused_it_answers_as_the_plain_whole(name: str) -> None:
    module = small(name).to(memory_format=torch.channels_last)
    images = IMAGES.contiguous(memory_format=torch.channels_last)
    expected = module(images)
    for touched in Parent(module, Architecture("")).perturbed[1:]:
        found = cut(module, [touched])
        assert found is not None
        for part in (found.trunk, found.tail):
            fuse(part.eval())
        features = found.trunk(images)
        for _ in range(2):
            torch.testing.assert_close(found.tail(*features), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", SMALL)
def test_mapped_over_stacked_weights_it_answers_as_each_child(name: str) -> None:
    parent = Parent(small(name), Architecture(""))
    children = [{k: parent.weights[k] * (1 + 0.1 * i) for k in parent.perturbed} for i in range(2)]
    stacked = {k: torch.stack([child[k] for child in children]) for k in parent.perturbed}
    with torch.no_grad():
        found = torch.vmap(lambda weights: functional_call(parent.module, weights, (IMAGES,)))(stacked)
        for one, child in zip(found, children, strict=True):
            torch.testing.assert_close(one, parent.child(child).module(IMAGES), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", SMALL)
def test_training_makes_the_loss_smaller_in_any_layout(name: str) -> None:
    torch.manual_seed(0)
    network = SMALL[name]().to(memory_format=torch.channels_last)
    images, labels = torch.randn(16, 3, 16, 16), torch.arange(16) % 5
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)
    losses = []
    for _ in range(8):
        loss = nn.functional.cross_entropy(network(images), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


# ---- names


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lenet-s", 253_290),
        ("lenet-m", 1_007_306),
        ("lenet-l", 4_017_546),
        ("resnet-18", 11_173_962),
        ("resnet-56", 853_018),
        ("wrn-28-10", 36_479_194),
        ("mlp", 3072 * 256 + 256 + 256 * 128 + 128 + 1290),
        ("torchvision.models:squeezenet1_1", 727_626),  # 1 235 496 with 1000 classes, each 513
    ],
)
def test_every_name_builds_for_colour_images(name: str, expected: int) -> None:
    found = architecture(name, 10, (3, 32, 32))
    again = Architecture(**json.loads(json.dumps(asdict(found))))
    assert again == found
    with torch.device("meta"):
        network = again.build().eval()
        assert sum(p.numel() for p in network.parameters()) == expected
        assert network(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_no_network_is_left_out_above() -> None:
    assert set(NETWORKS) == {"lenet-s", "lenet-m", "lenet-l", "resnet-18", "resnet-56", "wrn-28-10", "mlp"}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_name_builds_for_grey_images(name: str) -> None:
    with torch.device("meta"):
        network = architecture(name, 7, (1, 28, 28)).build()
        assert network(torch.zeros(2, 1, 28, 28)).shape == (2, 7)


def test_arguments_come_before_what_the_name_implies() -> None:
    found = architecture("mlp", 10, (1, 8, 8), {"hidden": [3]})
    assert found.arguments == {"classes": 10, "features": 64, "hidden": [3]}
    found = architecture("wrn-28-10", 10, (3, 32, 32), {"width": 2, "dropout": 0.3})
    assert found.arguments == {"classes": 10, "channels": 3, "depth": 28, "width": 2, "dropout": 0.3}
    assert NETWORKS["wrn-28-10"].arguments["width"] == 10


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lenet-x", 'expected one of lenet-s, .*, path/to/model.py:name or package.module:Class; did you mean "lenet-'),
        ("ResNet-18", 'did you mean "resnet-18"'),
        ("", "expected one of lenet-s"),
        ("model.py", "expected one of lenet-s"),
        ("folder/model:build", "expected one of lenet-s"),
        ("resnet.18:build", "expected one of lenet-s"),
        ("evoens.nothing:build", "expected one of lenet-s"),
        ("missing.py:build", r"expected a Python file, found none at .*missing\.py"),
    ],
)
def test_what_is_not_there_is_named(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=message):
        architecture(name, 10, (3, 32, 32), folders=[tmp_path])


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("lenet-s", {"depth": 3}, "unexpected keyword argument 'depth'"),
        ("torchvision.models:resnet5", {}, 'expected a torch.nn.Module class.*did you mean "resnet50"'),
        ("torchvision.models:get_model", {"name": "resnet18"}, "found no such 'get_model'"),
        ("wrn-28-10", {"depth": 27}, "expected a depth of 10"),
    ],
)
def test_what_cannot_be_built_says_why(name: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        architecture(name, 10, (3, 32, 32), arguments).build()


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ShapeError, match="lenet-l: expected square images, found 32 × 28"):
        architecture("lenet-l", 10, (3, 32, 28))
    with pytest.raises(ShapeError, match="expected images of 16 × 16 or more, found 8 × 8"):
        architecture("lenet-l", 10, (1, 8, 8)).build()
    with pytest.raises(ShapeError, match=r"torchvision\.models:resnet18: expected images of 3 channels, found 1"):
        architecture("torchvision.models:resnet18", 10, (1, 28, 28))


# ---- a user's file


@pytest.mark.parametrize("name", ["build", "Own"])
def test_a_users_file_gives_a_class_or_a_function(name: str, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(FILE)
    arguments = {"build": {"features": 12}, "Own": {"in_features": 12, "out_features": 2}}[name]
    found = architecture(f"model.py:{name}", 2, (3, 2, 2), arguments, [tmp_path])
    assert found.target == f"{(tmp_path / 'model.py').resolve()}:{name}" and found.arguments == arguments
    inputs: Tensor = torch.zeros(4, 12)
    assert found.build()(inputs).shape == (4, 2)
    parent = Parent(found.build(), found)
    again = Parent.from_weights(Architecture(**json.loads(json.dumps(asdict(found)))), copy.deepcopy(parent.weights))
    assert again.fingerprint == parent.fingerprint


def test_looking_up_a_name_imports_no_torch() -> None:
    code = "import sys, evoens.tasks.networks.catalogue as c; print(len(c.NETWORKS), 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["7", "False"]
