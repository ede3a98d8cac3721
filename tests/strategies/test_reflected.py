"""A reflected child says of an image what the parent says of its mirror image."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
import torch
from torch import nn

from evoens.children import child_weights
from evoens.errors import SpecError
from evoens.parent import Architecture, Parent
from evoens.plugins.spec import load_class, locate
from evoens.strategy import Strategy
from evoens.tasks.networks.lenet import LeNet
from evoens.tasks.networks.resnet import ResNet


def reflected(parent: Parent, sigma: float = 1e-12) -> Strategy:
    made: Strategy = load_class(locate("reflected"), Strategy)(sigma=sigma)
    made = made.within(parent=parent)
    return made


def parent_of(module: nn.Module) -> Parent:
    return Parent(module, Architecture("not:Rebuilt"))


@pytest.mark.parametrize(
    ("make", "side"),
    [
        (lambda: LeNet(5, side=20, width=1), 20),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten(), nn.Linear(256, 5)), 8),
    ],
)
def test_every_other_draw_sees_the_mirror_image(make: Callable[[], nn.Module], side: int) -> None:
    parent = parent_of(make())
    strategy, x = reflected(parent), torch.rand(7, 3, side, side)
    genomes = strategy.ask(8, Random(0))
    assert [len(g.genes) for g in genomes] == [1, 1, 1, 1, 2, 2, 2, 2]
    for genome in genomes:
        seen = x.flip(3) if len(genome.genes) == 2 else x
        child = parent.child(child_weights(parent, strategy, genome))
        torch.testing.assert_close(child.predict(x), parent.predict(seen), rtol=1e-4, atol=1e-6)
    assert not torch.allclose(parent.predict(x), parent.predict(x.flip(3)), atol=1e-3)


def test_a_network_that_pools_its_last_map_has_kernels_alone_to_turn() -> None:
    parent = parent_of(ResNet(4, blocks=(1,), width=4).eval())
    strategy, x = reflected(parent), torch.rand(5, 3, 8, 8)
    genome = strategy.ask(5, Random(0))[4]
    assert all(parent.weights[name].dim() == 4 for name in genome.genes[0].scope)
    child = parent.child(child_weights(parent, strategy, genome))
    torch.testing.assert_close(child.predict(x), parent.predict(x.flip(3)), rtol=1e-4, atol=1e-6)


def test_noise_stays_in_its_scope_and_elites_stay_as_they_face() -> None:
    parent = parent_of(LeNet(5, side=20, width=1))
    strategy = reflected(parent, sigma=0.1)
    strategy = strategy.within(scope=("fc1",))
    plain, turned = strategy.ask(8, Random(0))[::4]
    grown = child_weights(parent, strategy, plain)
    assert [name for name, w in grown.items() if not torch.equal(w, parent.weights[name])] == ["fc1.weight"]
    strategy = strategy.within(elites=(turned, plain))
    children = strategy.ask(8, Random(1))
    assert [g.genes[:2] == turned.genes for g in children] == [True] * 4 + [False] * 4
    assert [len(g.genes) for g in children] == [3] * 4 + [2] * 4


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(12, 3)), "expected a network with convolutions"),
        (
            nn.Sequential(nn.Conv2d(1, 4, 1), nn.Flatten(), nn.Linear(24, 3)),
            r"1\.weight|2\.weight to read a square map",
        ),
    ],
)
def test_what_has_nothing_to_turn_is_refused(module: nn.Module, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        reflected(parent_of(module)).ask(4, Random(0))
