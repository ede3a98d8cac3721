"""MotherNets: the largest network that all contain, and members that begin as the same function of their inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from joints import CLASSES, furthest, images, settled
from method_setting import setting
from torch import nn
from torch.nn import functional as F

from evoens.architecture import Architecture
from evoens.errors import SpecError
from evoens.methods.mother_nets import MotherNets, hatch, mother_of

pytestmark = pytest.mark.usefixtures("one_thread")

LENET, RESNET = "evoens.tasks.networks.lenet:LeNet", "evoens.tasks.networks.resnet:ResNet"
WRN, MLP = "evoens.tasks.networks.wrn:WideResNet", "evoens.tasks.networks.mlp:MLP"
SIZES: dict[str, tuple[str, list[dict[str, Any]], dict[str, Any]]] = {
    "wider lenets": (LENET, [{"side": 16, "width": w} for w in (3, 2, 4)], {"side": 16, "width": 2}),
    "deeper and wider resnets": (
        RESNET,
        [{"blocks": [1, 2], "width": 12}, {"blocks": [3, 1], "width": 8}, {"blocks": [2, 2], "width": 8}],
        {"blocks": [1, 1], "width": 8},
    ),
    "deeper resnets of option A": (
        RESNET,
        [{"blocks": [n, 2], "width": 4, "projection": False} for n in (1, 3)],
        {"blocks": [1, 2], "width": 4, "projection": False},
    ),
    "deeper and wider wrns": (
        WRN,
        [{"depth": 16, "width": 2}, {"depth": 10, "width": 3}, {"depth": 22, "width": 4}],
        {"depth": 10, "width": 2},
    ),
    "mlps": (
        MLP,
        [{"features": 768, "hidden": hidden} for hidden in ([32, 24], [16, 40, 20], [48, 24, 32, 24])],
        {"features": 768, "hidden": [16, 20]},
    ),
}  # fmt: skip


def members(name: str) -> list[Architecture]:
    target, sizes, _ = SIZES[name]
    return [Architecture(target, {"classes": CLASSES, **size}) for size in sizes]


def mother_network(name: str) -> Architecture:
    return Architecture(SIZES[name][0], mother_of([each.arguments for each in members(name)]))


@pytest.mark.parametrize("name", SIZES)
def test_the_mother_is_the_largest_network_that_all_contain(name: str) -> None:
    mother = mother_of([each.arguments for each in members(name)])
    assert mother == {"classes": CLASSES, **SIZES[name][2]}
    sizes = [sum(w.numel() for w in each.build().parameters()) for each in (mother_network(name), *members(name))]
    assert sizes[0] <= min(sizes[1:])


@pytest.mark.parametrize("name", SIZES)
def test_hatching_leaves_what_is_computed_as_it_is(name: str) -> None:
    x, _ = images()
    mother = settled(mother_network(name).build())
    expected = mother(x)
    for architecture in members(name):
        member = architecture.build()
        hatch(mother, member, x)
        assert furthest(member(x), expected) < 2e-6 * max(1.0, float(expected.abs().max()))
        assert sum(w.numel() for w in member.parameters()) >= sum(w.numel() for w in mother.parameters())


@pytest.mark.parametrize("name", ["wider lenets", "deeper and wider resnets", "deeper and wider wrns", "mlps"])
def test_every_weight_of_a_member_can_learn(name: str) -> None:
    """What the mother's weights leave out begins with no weight: two steps on, gradients reach all of it."""
    x, y = images(16)
    mother = mother_network(name).build()
    for architecture in members(name):
        member = architecture.build()
        hatch(mother, member, x)
        member.double()  # first steps are small
        before = {n: w.detach().clone() for n, w in member.named_parameters()}
        optimiser = torch.optim.SGD(member.train().parameters(), 0.05)
        for _ in range(3):
            optimiser.zero_grad()
            F.cross_entropy(member(x.double()), y).backward()
            optimiser.step()
        for n, w in member.named_parameters():
            moved = (w != before[n]).double().mean()
            assert float(moved) > 0.4, (n, float(moved))  # relus let no gradient through where they are off


def test_what_has_no_mother_is_refused() -> None:
    assert mother_of([{"width": 2}] * 2) == {"width": 2}
    with pytest.raises(SpecError, match=r"sizes: expected `projection` the same for all, or numbers"):
        mother_of([{"projection": True}, {"projection": False}])
    with pytest.raises(SpecError, match=r"sizes: expected `width` for each of them, found one without it"):
        mother_of([{"width": 1}, {}])
    with pytest.raises(SpecError, match=r"first: expected a share that leaves every member an epoch, found 0.5 of 6"):
        MotherNets().require(6)
    with pytest.raises(SpecError, match=r"sizes: expected a list of a network's arguments, found \[\]"):
        MotherNets([])


def test_members_of_several_sizes_are_trained_from_one(tmp_path: Path) -> None:
    own = setting(tmp_path, 4)
    found = MotherNets([{"hidden": [16]}, {"hidden": [24, 16]}], 0.5).fit(own, Path("unused"), lambda _: None)
    assert found.networks is not None and found.spent.epochs == pytest.approx(4)
    (family,) = found.networks.modules()
    widths = [[value.shape[0] for value in part.parameters() if value.dim() > 1] for part in family.networks]
    assert widths == [[16, 10], [24, 16, 10]]
    assert found.networks.outputs(own.problem.probe(5)).shape == (2, 5, 10)


def test_a_widening_that_changes_what_is_computed_is_refused() -> None:
    """Zeros that stand after all channels of option A stand elsewhere in a wider network."""
    x, _ = images()
    narrow, wide = (
        Architecture(RESNET, {"classes": 4, "blocks": [1, 1], "width": w, "projection": False}).build() for w in (4, 6)
    )
    with pytest.raises(SpecError, match=r"ResNet: expected a network that can be widened and deepened .* apart"):
        hatch(settled(narrow), wide, x)


def test_a_block_that_gets_a_shortcut_of_its_own_is_named() -> None:
    narrow, wide = (Architecture(WRN, {"classes": 4, "depth": 10, "width": w}).build() for w in (1, 2))
    with pytest.raises(SpecError, match=r"layer layer1.0 \(WideBlock\): expected 5 parts, as the smaller network has"):
        hatch(narrow, wide, images()[0])


def test_a_layer_that_contains_no_smaller_one_is_named() -> None:
    x = torch.randn(2, 4)
    with pytest.raises(SpecError, match=r"layer 0 \(Linear\): expected a weight that contains one of \(8, 4\), found"):
        hatch(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 2)), x)
    with pytest.raises(SpecError, match=r"layer 1 \(ReLU\): expected Linear, as the smaller network has there"):
        hatch(nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 2)), nn.Sequential(nn.Linear(4, 8), nn.ReLU()), x)
