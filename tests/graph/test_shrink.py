"""Shrinking: the outputs of the masked network from fewer weights and operations; what cannot be taken out stays."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random

import pytest
import torch
import torch.nn.functional as F
from evoens_strategies.sparse import Sparse
from torch import Tensor, nn

from evoens import noise
from evoens.children import child_weights
from evoens.errors import EvoensError, ShapeError
from evoens.genome import Mask
from evoens.graph.flops import flops
from evoens.graph.shrink import Bordered, shrink
from evoens.parent import Architecture, Parent
from evoens.tasks.networks.lenet import LeNet
from evoens.tasks.networks.mlp import MLP
from evoens.tasks.networks.resnet import ResNet
from evoens.tasks.networks.wrn import WideResNet


def vgg() -> nn.Module:
    """Padded convolutions one after another, with biases, normalisation and an average: constants meet borders."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(inplace=True),
        nn.Conv2d(8, 12, 3, padding=1, stride=2), nn.LeakyReLU(0.2), nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(12, 10, 3, padding=1, padding_mode="replicate"), nn.GELU(), nn.AvgPool2d(2),
        nn.Conv2d(10, 6, 1), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(6, 9), nn.BatchNorm1d(9), nn.Tanh(), nn.Dropout(0.5), nn.Linear(9, 4),
    )  # fmt: skip


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "lenet": (lambda: LeNet(10, 3, 20, width=1), (3, 20, 20)),
    "mlp": (lambda: MLP(3, 12, (16, 8)), (3, 2, 2)),
    "resnet": (lambda: ResNet(5, 3, (1, 2), width=8), (3, 9, 9)),
    "resnet without projections": (lambda: ResNet(5, 3, (2, 1), width=8, projection=False), (3, 8, 8)),
    "wrn": (lambda: WideResNet(5, 3, depth=10, width=1), (3, 8, 8)),
    "vgg": (vgg, (3, 16, 16)),
}


def network(make: Callable[[], nn.Module]) -> nn.Module:
    """A network through which inputs are seen, in which no bias, normalisation or statistic is 0 or 1 by chance."""
    module = make().eval()
    for name, value in module.state_dict().items():
        if value.is_floating_point():
            scale = 0.3 if value.dim() < 2 else (6 / value[0].numel()) ** 0.5
            value.copy_(scale * noise.normals(1, name, value.shape))
            if name.endswith("running_var") or (name.endswith("weight") and value.dim() < 2):
                value.abs_().add_(0.5)
    return module


def channels(module: nn.Module, density: float, part: int = 0, seed: int = 3) -> dict[str, Tensor]:
    """Channel masks of all layers but the last."""
    mask = Mask(seed, density, 2, part, "channels")
    names = [n for n, layer in module.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)][:-1]
    return {f"{n}.weight": noise.keep(mask, n, module.get_submodule(n).weight.shape) for n in names}  # type: ignore[arg-type]


def masked(module: nn.Module, masks: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: w.clone() * masks[n] if n in masks else w.clone() for n, w in module.state_dict().items()}


def weights(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def check(module: nn.Module, masks: dict[str, Tensor], shape: tuple[int, ...], varied: bool = True) -> nn.Module:
    """Shrink, and compare with the masked network, in float32 and, where rounding is no excuse, in float64."""
    x = noise.normals(9, "x", (5, *shape))
    small = shrink(module, masks)
    module.load_state_dict(masked(module, masks))
    with torch.no_grad():
        expected = module(x)
        assert (expected.std(0).max() > 0.01) == varied  # inputs still matter
        assert (small(x) - expected).abs().max() <= 1e-6 * (1 + expected.abs().max())
        exact, large = shrink(copy.deepcopy(module).double(), masks), copy.deepcopy(module).double()
        assert (exact(x.double()) - large(x.double())).abs().max() <= 1e-13 * (1 + expected.abs().max())
    return small


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("density", [0.25, 0.5])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_the_masked_networks_from_fewer_weights_and_operations(
    name: str, density: float, part: int
) -> None:
    make, shape = NETWORKS[name]
    module = network(make)
    small = check(module, channels(module, density, part), shape)
    assert weights(small) < weights(module)
    assert flops(small, shape) < flops(module, shape)
    again = shrink(small, {})
    assert weights(again) == weights(small)


def test_what_is_left_of_lenet_is_a_smaller_lenet() -> None:
    module = network(NETWORKS["lenet"][0])
    small = check(module, channels(module, 0.25), (3, 20, 20))
    shapes = {n: tuple(w.shape) for n, w in small.state_dict().items() if n.endswith("weight")}
    assert shapes == {
        "conv1.weight": (4, 3, 5, 5),
        "conv2.weight": (8, 4, 5, 5),
        "fc1.weight": (64, 8 * 2 * 2),
        "fc2.weight": (32, 64),
        "fc3.weight": (10, 32),
    }
    assert flops(small, (3, 20, 20)) == 2 * (16**2 * 4 * 75 + 4**2 * 8 * 100 + 64 * 32 + 32 * 64 + 320)


def test_a_child_that_has_its_zeros_needs_no_masks() -> None:
    """A whole sparse child of LeNet, by the Strategy itself."""
    module = network(NETWORKS["lenet"][0])
    parent = Parent(module, Architecture("evoens.tasks.networks.lenet:LeNet"))
    strategy = Sparse(structure="channels", parts=2)
    strategy = strategy.within(parent=parent)
    for genome in strategy.ask(2, Random(0)):
        child = parent.child(child_weights(parent, strategy, genome)).module
        small = check(child, {}, (3, 20, 20))
        assert weights(small) < 0.3 * weights(child)


def test_only_inner_channels_of_residual_blocks_go() -> None:
    module = network(NETWORKS["resnet"][0])
    small = check(module, channels(module, 0.5), (3, 9, 9))
    for name, layer in small.named_modules():
        if isinstance(layer, nn.Conv2d):
            inner = name.endswith("conv1") and name != "conv1"
            original = module.get_submodule(name.removesuffix(".conv"))
            assert layer.out_channels == original.out_channels // (2 if inner else 1), name


def test_zero_padding_is_met_by_a_channel_of_ones_only_where_it_is_needed() -> None:
    module = network(NETWORKS["resnet"][0])
    assert any(isinstance(layer, Bordered) for layer in shrink(module, channels(module, 0.5)).modules())
    for name, value in module.state_dict().items():
        if name.endswith(("bn1.bias", "bn1.running_mean")):
            value.zero_()
    small = check(module, channels(module, 0.5), (3, 9, 9))
    assert not any(isinstance(layer, Bordered) for layer in small.modules())


def test_weights_that_are_masked_one_by_one_are_zero_and_no_channel_goes() -> None:
    module = network(NETWORKS["lenet"][0])
    masks = {n: noise.keep(Mask(1), n, w.shape) for n, w in module.state_dict().items() if n.endswith("weight")}
    small = check(module, masks, (3, 20, 20))
    assert weights(small) == weights(module)


def test_what_hangs_on_channels_taken_out_goes_as_well() -> None:
    """A neuron that sees only neurons without weights is one itself."""
    module = network(lambda: MLP(2, 6, (4, 3)))
    masks = {n: torch.ones_like(w, dtype=torch.bool) for n, w in module.state_dict().items() if n.endswith("weight")}
    masks["layers.0.weight"][:2] = False
    masks["layers.2.weight"][1, 2:] = False
    small = check(module, masks, (6,))
    assert [tuple(w.shape) for n, w in small.state_dict().items() if n.endswith("weight")] == [(2, 6), (2, 2), (2, 2)]


def test_a_layer_keeps_its_last_channel() -> None:
    module = network(NETWORKS["vgg"][0])
    masks = {"3.weight": torch.zeros(12, 8, 3, 3, dtype=torch.bool)}
    small = check(module, masks, (3, 16, 16), varied=False)
    assert small.get_submodule("3").out_channels == 1  # type: ignore[comparison-overlap]


class Refused(nn.Module):
    """Layers whose channels cannot be taken out, each for another reason."""

    def __init__(self) -> None:
        super().__init__()
        self.joined = nn.Conv2d(3, 4, 3, padding=1)
        self.twice = nn.Conv2d(7, 7, 3, padding=1)
        self.before = nn.Conv2d(7, 8, 1)
        self.grouped = nn.Conv2d(8, 8, 3, groups=8)
        self.averaged = nn.Conv2d(8, 6, 1)
        self.named = nn.Linear(6, 6)
        self.rows = nn.Linear(6, 3)
        self.last = nn.Linear(3 * 6, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(torch.cat([x, self.joined(x)], 1)))
        x = self.averaged(F.relu(self.grouped(self.before(x))))
        x = F.avg_pool2d(x, 3, 1, 1).mean(3)
        x = F.linear(F.relu(self.named(x.transpose(1, 2))), self.named.weight)
        return self.last(self.rows(x).flatten(1))  # type: ignore[no-any-return]


def test_what_is_refused_stays_with_its_zeros() -> None:
    module = network(Refused)
    small = check(module, channels(module, 0.75), (3, 8, 8))
    assert [tuple(w.shape) for w in small.parameters()] == [tuple(w.shape) for w in module.parameters()]


def test_the_module_itself_stays_as_it_is() -> None:
    module = network(NETWORKS["wrn"][0])
    before = {n: w.clone() for n, w in module.state_dict().items()}
    shrink(module, channels(module, 0.5))
    assert all(torch.equal(w, before[n]) for n, w in module.state_dict().items())


def test_masks_that_do_not_fit_and_networks_that_cannot_be_traced_are_named() -> None:
    module = LeNet(10, width=1)
    with pytest.raises(ShapeError, match=r"conv1\.weight: expected shape \(16, 3, 5, 5\), found \(3,\)"):
        shrink(module, {"conv1.weight": torch.ones(3)})
    with pytest.raises(ShapeError, match="conv9"):
        shrink(module, {"conv9.weight": torch.ones(3)})

    class Asks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(EvoensError, match=r"torch\.fx can trace"):
        shrink(Asks(), {})
