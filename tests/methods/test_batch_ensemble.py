"""BatchEnsemble against loops in float64, plain networks of its members' weights, and another library's layers."""

from __future__ import annotations

import copy
from itertools import product

import pytest
import torch
from joints import NETWORKS, furthest, images, settled
from torch import Tensor, nn

from evoens.errors import SpecError
from evoens.methods.batch_ensemble import BatchEnsembleNetwork, RankOne

pytestmark = pytest.mark.usefixtures("one_thread")


def member(joint: BatchEnsembleNetwork, network: nn.Module, place: int) -> nn.Module:
    """A network like `network` with the weights W ∘ (s rᵀ) of one member."""
    own = copy.deepcopy(network)
    for name, layer in joint.network.named_modules():
        if isinstance(layer, RankOne):
            plain = own.get_submodule(name)
            assert isinstance(plain, nn.Linear | nn.Conv2d)
            weight, r, s = layer.layer.weight, layer.r[place], layer.s[place]
            plain.weight.data = (
                weight * s.view(-1, 1, *[1] * (weight.dim() - 2)) * r.view(-1, *[1] * (weight.dim() - 2))
            )
            if plain.bias is not None and layer.bias is not None:
                plain.bias.data = layer.bias[place]
    return own


def gaussian(joint: BatchEnsembleNetwork) -> None:
    """Have the vectors be no signs, and the biases no longer alike."""
    for layer in joint.modules():
        if isinstance(layer, RankOne):
            for value in (layer.r, layer.s, *(() if layer.bias is None else (layer.bias,))):
                nn.init.normal_(value, 1, 0.5)


def test_a_linear_layer_is_what_the_paper_writes() -> None:
    torch.manual_seed(3)
    layer = RankOne(nn.Linear(5, 3), 2).double().requires_grad_(False)
    nn.init.normal_(layer.r), nn.init.normal_(layer.s), nn.init.normal_(layer.bias)  # type: ignore[arg-type]
    x, found = torch.randn(2, 4, 5).double(), torch.zeros(2, 4, 3).double()
    assert layer.bias is not None
    for i, n, o in product(range(2), range(4), range(3)):
        inner = sum(float(x[i, n, j] * layer.r[i, j] * layer.layer.weight[o, j]) for j in range(5))
        found[i, n, o] = inner * layer.s[i, o] + layer.bias[i, o]
    assert furthest(layer(x.flatten(0, 1)).view(2, 4, 3), found) < 1e-12


def test_a_convolution_is_one_with_the_weights_of_each_member() -> None:
    torch.manual_seed(3)
    layer = RankOne(nn.Conv2d(2, 3, 3, padding=1), 2).double().requires_grad_(False)
    nn.init.normal_(layer.r), nn.init.normal_(layer.s), nn.init.normal_(layer.bias)  # type: ignore[arg-type]
    x, found = torch.randn(2, 2, 4, 4).double(), torch.zeros(2, 3, 4, 4).double()
    assert layer.bias is not None
    for i, o, h, w in product(range(2), range(3), range(4), range(4)):
        total = float(layer.bias[i, o])
        for c, a, b in product(range(2), range(3), range(3)):
            if 0 <= h + a - 1 < 4 and 0 <= w + b - 1 < 4:
                weight = layer.layer.weight[o, c, a, b] * layer.s[i, o] * layer.r[i, c]
                total += float(weight * x[i, c, h + a - 1, w + b - 1])
        found[i, o, h, w] = total
    assert furthest(layer(x), found) < 1e-12


@pytest.mark.parametrize("name", NETWORKS)
def test_each_member_is_a_network_of_its_own_weights(name: str) -> None:
    network, (x, _) = settled(NETWORKS[name]()), images()
    joint = BatchEnsembleNetwork(network, 3).eval()
    gaussian(joint)
    expected = torch.stack([member(joint, network, place)(x) for place in range(3)])
    assert furthest(joint(x), expected) < 1e-4 * float(expected.abs().max())


@pytest.mark.parametrize("name", NETWORKS)
def test_one_member_with_signs_of_one_is_the_network(name: str) -> None:
    network, (x, _) = settled(NETWORKS[name]()), images()
    joint = BatchEnsembleNetwork(network, 1).eval()
    for layer in joint.modules():
        if isinstance(layer, RankOne):
            nn.init.ones_(layer.r), nn.init.ones_(layer.s)
    assert furthest(joint(x)[0], network(x)) < 1e-6 * float(network(x).abs().max()) + 1e-6


def test_vectors_begin_as_random_signs_and_only_they_do_not_decay() -> None:
    joint = BatchEnsembleNetwork(NETWORKS["lenet"](), 4)
    parameters = dict(joint.named_parameters())
    vectors = {name for name in parameters if name.endswith((".r", ".s"))}
    assert set(joint.undecayed()) == vectors and len(vectors) == 10
    signs = torch.cat([parameters[name].flatten() for name in vectors])
    assert set(signs.tolist()) == {-1.0, 1.0} and abs(float(signs.mean())) < 0.1
    assert joint.network.get_submodule("conv1").bias.shape == (4, 16)  # type: ignore[union-attr]


def test_a_layer_used_twice_stays_one() -> None:
    shared = nn.Linear(6, 6)
    joint = BatchEnsembleNetwork(nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(6, 2)), 2)
    assert joint.network.get_submodule("0") is joint.network.get_submodule("2")


class Linear(nn.Linear):
    """One that may do as it likes."""


def test_layers_that_are_refused_are_named() -> None:
    with pytest.raises(SpecError, match=r"layer 0 \([\w.]+.Linear\): expected weights in Linear, Conv1d"):
        BatchEnsembleNetwork(nn.Sequential(Linear(4, 4)))
    network = nn.TransformerEncoderLayer(8, 2)
    with pytest.raises(SpecError, match=r"layer self_attn \(MultiheadAttention\): expected weights in Linear, Conv1d"):
        BatchEnsembleNetwork(network)


# ---- torch-uncertainty, where it is installed


def test_layers_are_those_of_torch_uncertainty() -> None:
    layers = pytest.importorskip("torch_uncertainty.layers")
    for ours, theirs, shape in (
        (nn.Linear(6, 4), layers.BatchLinear(6, 4, 3), (6, 6)),
        (nn.Conv2d(4, 6, 3, 2, 1), layers.BatchConv2d(4, 6, 3, 3, 2, 1), (6, 4, 9, 9)),
    ):
        layer, x = RankOne(ours, 3), torch.randn(shape)
        state: dict[str, Tensor] = theirs.state_dict()
        for name, value in state.items():
            own = {"r_group": layer.r, "s_group": layer.s, "bias": layer.bias}.get(name, layer.layer.weight)
            assert own is not None and own.numel() == value.numel(), (name, value.shape)
            nn.init.normal_(own)
            value.copy_(own.detach().view(value.shape))
        assert furthest(layer(x), theirs(x)) < 1e-5
