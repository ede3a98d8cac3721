"""A network's logits are found in whatever it gives, in every way it is run; others are refused by the layer's name."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evoens.children import child_weights
from evoens.ensemble import Ensemble, load_ensemble
from evoens.errors import ShapeError, SpecError
from evoens.evaluation.plan import Plan, make_runner
from evoens.graph.cut import cut
from evoens.graph.shrink import shrink
from evoens.network.adapt import adapted, layout, logits
from evoens.parent import Architecture, Parent
from evoens.plugins.spec import load_class, locate
from evoens.strategy import Strategy

OUTPUT = namedtuple("OUTPUT", ["aux", "logits"])
TWO = torch.tensor([[1.0, 2.0], [3.0, -1.0]])
ONE = torch.tensor([[2.0], [-1.0]])


@pytest.mark.parametrize(
    ("output", "right"),
    [
        (TWO, TWO),
        ((TWO, -TWO), TWO),
        ([None, TWO], TWO),
        ({"loss": None, "hidden": TWO}, TWO),
        (OrderedDict(hidden=-TWO, logits=TWO), TWO),
        (OUTPUT(-TWO, TWO), TWO),
        (ONE, torch.tensor([[0.0, 2.0], [0.0, -1.0]])),
        (ONE[:, 0], torch.tensor([[0.0, 2.0], [0.0, -1.0]])),
        ((ONE, TWO), torch.tensor([[0.0, 2.0], [0.0, -1.0]])),
    ],
)
def test_logits_are_found(output: Any, right: Tensor) -> None:
    assert torch.equal(logits(output), right)


def test_one_logit_has_its_sigmoid_as_probability() -> None:
    torch.testing.assert_close(logits(ONE).softmax(-1)[:, 1:], ONE.sigmoid())


def test_an_output_without_a_tensor_is_refused() -> None:
    with pytest.raises(ShapeError, match="no tensor in dict"):
        logits({"loss": 3})


MODEL = """\
from torch import nn


class Net(nn.Module):
    def __init__(self, gives):
        super().__init__()
        self.gives = gives
        self.conv, self.fc = nn.Conv2d(3, 4, 3, padding=1), nn.Linear(4 * 36, 1 if gives == "one" else 2)

    def forward(self, x):
        x = self.conv(x).relu()
        x = self.fc(x.view(-1, 4 * 36) if self.gives == "viewed" else x.flatten(1))
        return {"tuple": (x, 2 * x), "dict": {"loss": None, "logits": x}}.get(self.gives, x)


def build(gives):
    return Net(gives)
"""
INPUTS = torch.linspace(-1, 1, 4 * 3 * 6 * 6).view(4, 3, 6, 6)
ARGUMENTS = {"sigma": 0.1, "density": 0.5, "parts": 2}


def parent_of(folder: Path, gives: str) -> Parent:
    file = folder / "model.py"
    file.write_text(MODEL)
    architecture = Architecture(f"{file}:build", {"gives": gives}, hashlib.sha256(file.read_bytes()).hexdigest())
    torch.manual_seed(0)
    parent = Parent(architecture.build(), architecture)
    parent.layout = layout(parent.module, INPUTS)
    return parent


def by_hand(weights: dict[str, Tensor], gives: str) -> Tensor:
    x = torch.conv2d(INPUTS, weights["conv.weight"], weights["conv.bias"], padding=1).relu().flatten(1)
    found = x @ weights["fc.weight"].T + weights["fc.bias"]
    return torch.cat([1 - found.sigmoid(), found.sigmoid()], 1) if gives == "one" else found.softmax(-1)


@pytest.mark.parametrize("gives", ["logits", "tuple", "dict", "one", "viewed"])
def test_every_way_a_network_is_run_gives_the_same(gives: str, tmp_path: Path) -> None:
    """Members alone, an ensemble before and after it is saved, the plans, the two halves, fewer channels."""
    parent, source = parent_of(tmp_path, gives), locate("noisy")
    strategy: Strategy = load_class(source, Strategy)(**ARGUMENTS)
    assert (parent.layout == torch.contiguous_format) is (gives == "viewed")
    torch.testing.assert_close(parent.predict(INPUTS), by_hand(parent.weights, gives))
    genomes = strategy.ask(2, Random(0))
    own = [child_weights(parent, strategy, genome) for genome in genomes]
    right = torch.stack([by_hand({**parent.weights, **weights}, gives) for weights in own])
    ensemble = Ensemble(parent, strategy, genomes)
    torch.testing.assert_close(ensemble.outputs(INPUTS), right)
    torch.testing.assert_close(ensemble.outputs(INPUTS.contiguous(memory_format=torch.channels_last)), right)
    for shrunk in (False, True):
        alone = [module(INPUTS).softmax(-1) for module in ensemble.modules(shrunk)]
        torch.testing.assert_close(torch.stack(alone), right)
    ensemble.save(tmp_path / "saved", source, ARGUMENTS, {})
    assert torch.equal(load_ensemble(tmp_path / "saved").outputs(INPUTS), ensemble.outputs(INPUTS))
    for plan in (Plan("loop"), Plan("vmap", children=2)):
        room = make_runner(parent.module, parent.perturbed, plan, torch.device("cpu"))
        room.load(0, own[0])
        torch.testing.assert_close(room.predict({0: INPUTS})[0], right[0])
    parts = cut(parent.module, ["fc.weight"])
    assert parts is not None
    torch.testing.assert_close(parts.tail(*parts.trunk(INPUTS)).softmax(-1), by_hand(parent.weights, gives))
    torch.testing.assert_close(shrink(parent.module, {})(INPUTS).softmax(-1), by_hand(parent.weights, gives))


def quantised() -> nn.Module:
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(3, 2)), {nn.Linear}, torch.qint8)


class Holds(nn.Module):
    """Keeps what cannot be copied."""

    def __init__(self, **kept: Any) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 2)
        for name, value in kept.items():
            setattr(self.inner, name, value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("make", "says"),
    [
        (
            lambda: nn.Sequential(nn.Flatten(), nn.LazyLinear(2)),
            '"it": layer 1: expected weights of known sizes, found Lazy',
        ),
        (lambda: nn.Sequential(torch.jit.script(nn.Linear(3, 2))), '"it": layer 0: expected a layer written in Python'),
        (quantised, '"it": layer 0: expected weights in floating point, found Linear, which is quantised'),
        (
            lambda: Holds(lock=threading.Lock()),
            '"it": layer inner: expected attributes that can be copied, .* found lock',
        ),
        (lambda: Holds(rows=(i for i in range(3))), "layer inner: .* found rows"),
        (lambda: Holds(forward=lambda x: x), "layer inner: expected forward in the layer's class"),
    ],
)
def test_what_cannot_be_evolved_is_refused_by_its_layer(make: Callable[[], nn.Module], says: str) -> None:
    with pytest.raises(SpecError, match=says) as caught:
        adapted(make(), "it")
    assert caught.value.keys == ("parent", "network")


def test_activations_that_were_kept_can_be_copied() -> None:
    network = Holds()
    network.inner.seen = network.inner(torch.ones(1, 3))
    child = Parent(adapted(network, "it"), Architecture("it")).child({})
    assert torch.equal(child.module.inner.seen, network.inner.seen)  # type: ignore[union-attr, arg-type]


def test_what_is_around_a_network_is_taken_off() -> None:
    assert list(adapted(torch.compile(nn.Linear(3, 2)), "it").state_dict()) == ["weight", "bias"]
    assert list(adapted(nn.DataParallel(nn.Linear(3, 2)), "it").state_dict()) == ["weight", "bias"]


def test_a_network_that_takes_no_layout_says_why() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        layout(nn.Sequential(nn.Flatten(), nn.Linear(5, 2)), INPUTS)
