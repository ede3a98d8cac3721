"""An ensemble as one plain module: the same probabilities, shared tensors once, and torch's own tools take it."""

from __future__ import annotations

from random import Random
from typing import Any

import deployed
import pytest
import torch
from deployed import MEMBERS, ensemble_of
from torch import Tensor, nn

from evoens.architecture import GivenModule
from evoens.ensemble import Ensemble
from evoens.errors import EvoensError
from evoens.export.module import EnsembleModule
from evoens.parent import Parent
from evoens.plugins.spec import load_class, locate
from evoens.strategy import Strategy
from evoens.tasks.data.preprocessing import Preprocessing

SHIPPED = sorted(deployed.SHIPPED)
SHOWN = Preprocessing((3, 32, 32), None, None, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), tuple("abcdefghij"))


def by_hand(ensemble: Ensemble, inputs: Tensor, temperature: float = 1.0) -> Tensor:
    """The mean of the members' probabilities, scaled, in float64, from whole networks."""
    with torch.no_grad():
        mean = torch.stack([module(inputs).double().softmax(-1) for module in ensemble.modules()]).mean(0)
    return (mean.log() / temperature).softmax(-1)


def bytes_of(module: nn.Module) -> int:
    return sum(value.nbytes for value in {id(v): v for v in module.state_dict(keep_vars=True).values()}.values())


@pytest.mark.parametrize("scoped", [False, True], ids=["all layers", "the last layer"])
@pytest.mark.parametrize("name", SHIPPED)
def test_it_says_what_the_members_say_together(name: str, scoped: bool) -> None:
    ensemble, inputs = ensemble_of(name, scoped=scoped)
    module, members = ensemble.module(inputs=inputs), ensemble.module(inputs=inputs, members=True)
    found = module(inputs).detach()
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), by_hand(ensemble, inputs, 1.5), rtol=0, atol=1e-6)
    torch.testing.assert_close(found.double(), ensemble.predict(inputs, calibrated=True).double(), rtol=0, atol=1e-6)
    each = members(inputs).detach()
    torch.testing.assert_close(each, ensemble.outputs(inputs).transpose(0, 1), rtol=0, atol=1e-6)


def test_without_a_temperature_it_is_the_plain_mean() -> None:
    ensemble, inputs = ensemble_of("mlp", temperature=None)
    found = ensemble.module()(inputs).detach()
    torch.testing.assert_close(found.double(), by_hand(ensemble, inputs), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rule", ["median", "logit-mean", "geometric-mean"])
def test_it_keeps_the_rule(rule: str) -> None:
    ensemble, inputs = ensemble_of("mlp", rule=rule, temperature=None)
    torch.testing.assert_close(ensemble.module()(inputs).detach(), ensemble.predict(inputs), rtol=0, atol=1e-6)


def test_a_vote_that_draws_ties_is_refused_but_for_its_members() -> None:
    ensemble, inputs = ensemble_of("mlp", rule="majority-vote")
    with pytest.raises(EvoensError, match=r"^combine: expected a rule without chance, found majority-vote"):
        ensemble.module()
    assert ensemble.module(members=True)(inputs).shape == (4, MEMBERS, 4)


@pytest.mark.parametrize("name", SHIPPED)
def test_what_no_member_has_changed_is_there_once(name: str) -> None:
    ensemble, inputs = ensemble_of(name, scoped=True)
    (changed,) = ensemble.strategy.scope
    whole = sum(value.nbytes for value in ensemble.parent.module.state_dict().values())
    last = ensemble.parent.weights[changed].nbytes
    for module in (ensemble.module(inputs=inputs), ensemble.module()):  # with a trunk, and with whole networks
        assert bytes_of(module) == whole + (MEMBERS - 1) * last


def test_the_trunk_runs_once_where_it_is_proved(monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble, inputs = ensemble_of("mlp", scoped=True)
    module, plain, passes = ensemble.module(inputs=inputs), nn.Linear.forward, list[int]()

    def counted(self: nn.Linear, x: Tensor) -> Tensor:
        passes.append(self.out_features)
        return plain(self, x)

    monkeypatch.setattr(nn.Linear, "forward", counted)
    module(inputs)
    assert passes == [256, 128, *[4] * MEMBERS]


def test_a_member_that_was_chosen_twice_counts_twice_and_runs_once() -> None:
    single, inputs = ensemble_of("mlp", scoped=True)
    a, b, _ = single.genomes
    ensemble, _ = ensemble_of("mlp", scoped=True, genomes=[a, b, a])
    module = ensemble.module(inputs=inputs)
    assert isinstance(module, EnsembleModule) and len(module.tails) == 2
    torch.testing.assert_close(module(inputs).detach().double(), by_hand(ensemble, inputs, 1.5), rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", SHIPPED)
def test_its_state_dict_is_of_tensors_and_loads_into_another(name: str) -> None:
    ensemble, inputs = ensemble_of(name)
    module, state = ensemble.module(inputs=inputs), ensemble.module(inputs=inputs).state_dict()
    assert {type(value) for value in state.values()} == {Tensor}
    with torch.no_grad():
        for value in module.state_dict().values():
            value.zero_()
    module.load_state_dict(state)
    torch.testing.assert_close(module(inputs).detach().double(), by_hand(ensemble, inputs, 1.5), rtol=0, atol=1e-6)


def test_it_learns_and_leaves_the_ensemble_as_it_was() -> None:
    ensemble, inputs = ensemble_of("lenet", scoped=True)
    before, module = ensemble.predict(inputs), ensemble.module(inputs=inputs)
    optimiser = torch.optim.SGD(module.parameters(), 1.0)
    module(inputs)[:, 0].sum().backward()
    assert all(value.grad is not None for value in module.parameters())
    optimiser.step()
    assert not torch.allclose(module(inputs).detach(), ensemble.predict(inputs, calibrated=True).float())
    assert torch.equal(ensemble.predict(inputs), before)


def test_raw_takes_bytes() -> None:
    ensemble, _ = ensemble_of("lenet", scoped=True, preprocessing=SHOWN)
    images = torch.randint(0, 256, (5, 3, 32, 32), dtype=torch.uint8)
    found = ensemble.module(raw=True)(images).detach()
    torch.testing.assert_close(found.double(), ensemble.predict_images(images, calibrated=True), rtol=0, atol=1e-6)


def test_raw_is_for_those_whose_normalisation_is_known() -> None:
    with pytest.raises(EvoensError, match=r"^raw: expected a classifier of images, whose normalisation is known"):
        ensemble_of("lenet")[0].module(raw=True)


class Tied(nn.Module):
    """Two tensors of two names each: a layer that is used twice, and two layers of one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.again, self.last.weight = self.first, self.second.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.second(torch.relu(self.again(torch.relu(self.first(x)))))))  # type: ignore[no-any-return]


class Pair(nn.Module):
    """Two inputs, and logits in a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.layer = nn.Embedding(5, 3), nn.Linear(3, 4)

    def forward(self, words: Tensor, values: Tensor) -> dict[str, Tensor]:
        return {"logits": self.layer(self.table(words).mean(1) + values)}


@pytest.mark.parametrize(
    ("kind", "inputs"),
    [(Tied, torch.linspace(-1, 1, 20).view(5, 4)), (Pair, (torch.arange(10).view(5, 2) % 5, torch.ones(5, 3)))],
    ids=["tied", "pair"],
)
def test_tied_weights_and_several_inputs(kind: type[nn.Module], inputs: Any) -> None:
    architecture = GivenModule.of_module(kind())
    strategy = load_class(locate("noisy"), Strategy)(sigma=0.3, density=0.5, parts=2)
    ensemble = Ensemble(Parent(architecture.build(), architecture), strategy, strategy.ask(2, Random(0)))
    several = inputs if isinstance(inputs, tuple) else (inputs,)
    module = ensemble.module(inputs=inputs)
    torch.testing.assert_close(module(*several).detach(), ensemble.predict(inputs), rtol=0, atol=1e-6)
    module.load_state_dict(module.state_dict())


@pytest.mark.parametrize("name", ["mlp", "lenet", "resnet"])
def test_torch_compiles_it_as_one_graph(name: str) -> None:
    ensemble, inputs = ensemble_of(name)
    module = ensemble.module(inputs=inputs)
    compiled = torch.compile(module, backend="eager", fullgraph=True)
    with torch.no_grad():
        torch.testing.assert_close(compiled(inputs), module(inputs), rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(deployed.NETWORKS))
def test_torch_compiles_every_network(name: str) -> None:
    ensemble, inputs = ensemble_of(name)
    module = ensemble.module(inputs=inputs)
    with torch.no_grad():
        torch.testing.assert_close(torch.compile(module)(inputs), module(inputs), rtol=0, atol=1e-4)
    torch.compiler.reset()
