"""Tensors of two names are one tensor; parametrised weights are plain weights, of the same outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils import parametrizations, prune, spectral_norm, weight_norm
from torchvision.models import mnasnet0_5

from evoens import noise
from evoens.children import child_weights
from evoens.ensemble import Ensemble
from evoens.errors import ShapeError, SpecError
from evoens.evaluation.plan import Plan, make_runner
from evoens.genome import Gene, Genome
from evoens.graph.cut import cut
from evoens.network.tensors import load, plain, tensors
from evoens.parent import Architecture, Parent
from evoens.strategy import Strategy


class Shift(Strategy):
    """Adds a gene's noise."""

    def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
        return weight + gene.sign * gene.scale * noise.normals(gene.seed, name, weight.shape)


class Twice(nn.Module):
    """One layer under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.out = nn.Linear(5, 5), nn.Linear(5, 3)
        self.b = self.a

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.b(self.a(x).relu()).relu())


class Tied(nn.Module):
    """Two layers with one weight, and biases of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 3)
        self.b.weight = self.a.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.b(self.a(x).relu()).relu())


class Lent(nn.Module):
    """A linear layer with an embedding's weight, as language models have it."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.first, self.out = nn.Embedding(3, 5), nn.Linear(5, 5), nn.Linear(5, 3, bias=False)
        self.out.weight = self.words.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.first(x).relu())


class Memory(nn.Module):
    """Two parameters in one memory, which no copy keeps together."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(5, 5), nn.Linear(5, 5)
        self.b.weight.data = self.a.weight.data.t()


NETS = {"one layer twice": (Twice, "a.weight"), "one weight": (Tied, "a.weight"), "lent": (Lent, "words.weight")}
CHILD = Genome((Gene(3, 0.3, 1),))
INPUTS = torch.linspace(-2, 2, 20).view(4, 5)


def parent_of(kind: type[nn.Module]) -> Parent:
    torch.manual_seed(0)
    return Parent(kind(), Architecture(f"{__name__}:{kind.__name__}"))


def by_hand(parent: Parent, name: str) -> Tensor:
    """A child's probabilities from its moved weight alone, the layers written out."""
    w = {k: v.double() for k, v in parent.module.state_dict().items()}
    moved = {
        n: parent.weights[n].double() + 0.3 * noise.normals(3, n, parent.weights[n].shape).double()
        for n in parent.perturbed
    }
    x = INPUTS.double()
    if name == "words.weight":
        x = (x @ moved["first.weight"].T + w["first.bias"]).relu()
        return (x @ moved[name].T).softmax(-1)
    for layer in ("a", "b"):
        x = (x @ moved["a.weight"].T + w[f"{layer}.bias"]).relu()
    return (x @ moved["out.weight"].T + w["out.bias"]).softmax(-1)


@pytest.mark.parametrize(("kind", "name"), NETS.values(), ids=NETS)
def test_a_tensor_of_two_names_is_moved_once_and_everywhere(kind: type[nn.Module], name: str) -> None:
    parent = parent_of(kind)
    assert parent.perturbed.count(name) == 1 and len(set(parent.weights)) < len(parent.module.state_dict())
    right = by_hand(parent, name)
    own = child_weights(parent, Shift(0.3), CHILD)
    assert torch.allclose(parent.child(own).predict(INPUTS).double(), right, atol=1e-6)
    assert torch.allclose(Ensemble(parent, Shift(0.3), [CHILD]).predict(INPUTS).double(), right, atol=1e-6)
    assert not torch.allclose(parent.predict(INPUTS).double(), right, atol=1e-2)
    for plan in (Plan("loop"), Plan("vmap", children=2)):
        room = make_runner(parent.module, parent.perturbed, plan, torch.device("cpu"))
        room.load(0, own)
        assert torch.allclose(room.predict({0: INPUTS})[0].double(), right, atol=1e-6), plan


@pytest.mark.parametrize(("kind", "name"), NETS.values(), ids=NETS)
def test_it_is_saved_and_loaded_once(kind: type[nn.Module], name: str, tmp_path: Path) -> None:
    parent = parent_of(kind)
    save_file({k: v.contiguous() for k, v in parent.weights.items()}, tmp_path / "p.safetensors")
    again = Parent.from_weights(parent.architecture, load_file(tmp_path / "p.safetensors"))
    whole = Parent.from_weights(parent.architecture, parent.module.state_dict())
    assert again.fingerprint == whole.fingerprint == parent.fingerprint
    assert again.module.state_dict()[name].equal(parent.weights[name])


def test_the_second_of_two_names_is_enough() -> None:
    parent = parent_of(Tied)
    weights = {name.replace("a.weight", "b.weight"): value for name, value in parent.weights.items()}
    assert "a.weight" not in weights
    assert Parent.from_weights(parent.architecture, weights).fingerprint == parent.fingerprint


def test_a_file_with_two_values_for_one_tensor_is_refused() -> None:
    weights = {**parent_of(Tied).module.state_dict(), "b.weight": torch.zeros(5, 5)}
    with pytest.raises(ShapeError, match=r"b\.weight: expected the values of a\.weight"):
        Parent.from_weights(Architecture(f"{__name__}:Tied"), weights)


def test_children_share_nothing_before_a_tensor_of_two_names() -> None:
    """The second layer with the weight would be the parent's."""
    assert cut(parent_of(Tied).module, {"a.weight"}) is None
    assert cut(parent_of(Tied).module, {"out.weight"}) is not None


def test_two_parameters_in_one_memory_are_refused_by_name() -> None:
    with pytest.raises(SpecError, match=r"a\.weight and b\.weight"):
        parent_of(Memory)


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.parametrize(
    "constrained",
    [
        parametrizations.weight_norm,
        parametrizations.spectral_norm,
        parametrizations.orthogonal,
        weight_norm,
        spectral_norm,
        lambda layer: prune.l1_unstructured(layer, "weight", 0.5),
    ],
    ids=["weight_norm", "spectral_norm", "orthogonal", "old weight_norm", "old spectral_norm", "prune"],
)
def test_parametrised_weights_are_plain_ones_of_the_same_outputs(constrained: Callable[[nn.Module], nn.Module]) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(constrained(nn.Linear(5, 4)), nn.ReLU(), nn.Linear(4, 3))
    network(INPUTS)  # spectral_norm moves while it is trained
    before, saved = network.eval()(INPUTS).detach(), {k: v.clone() for k, v in network.state_dict().items()}
    assert "0.weight" not in saved
    parent = Parent(network, Architecture("torch.nn:Sequential"))
    assert torch.equal(parent.module(INPUTS), before)
    assert parent.perturbed == ("0.weight", "2.weight") and set(parent.weights) == {
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
    }
    moved = parent.child(child_weights(parent, Shift(0.3), CHILD)).module.state_dict()["0.weight"]
    assert torch.equal(moved, parent.weights["0.weight"] + 0.3 * noise.normals(3, "0.weight", (4, 5)))
    for weights in (saved, parent.weights):  # as torch saved it, and as an ensemble's folder has it
        other = nn.Sequential(constrained(nn.Linear(5, 4)), nn.ReLU(), nn.Linear(4, 3))
        load(other, weights)
        plain(other)
        assert torch.allclose(other(INPUTS), before, atol=1e-6)


def test_a_copy_keeps_tensors_together() -> None:
    """What a plan makes of a network: another precision, another layout."""
    module = Plan(layout="channels_last", precision="bfloat16").fit(parent_of(Tied).module, torch.device("cpu"))
    assert list(tensors(copy.deepcopy(module))) == ["a.weight", "a.bias", "b.bias", "out.weight", "out.bias"]


def test_what_the_network_froze_is_not_trained() -> None:
    network = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 3))
    network[0].bias.requires_grad = False
    parent = Parent(network, Architecture("torch.nn:Sequential"))
    assert parent.frozen == {"0.bias"}
    assert {n for n, p in parent.trainable().named_parameters() if not p.requires_grad} == {"0.bias"}
    assert not any(p.requires_grad for p in parent.module.parameters())
    again = Parent(parent.trainable(), parent.architecture)
    assert again.frozen == {"0.bias"}
    whole = Parent(network.requires_grad_(False), parent.architecture)  # only to be asked
    assert whole.frozen == frozenset()


def test_a_network_that_asks_for_the_version_of_its_weights_is_told() -> None:
    weights = mnasnet0_5(num_classes=3).state_dict()
    module = mnasnet0_5(num_classes=3)
    load(module, dict(weights))
    assert all(torch.equal(value, weights[name]) for name, value in module.state_dict().items())
