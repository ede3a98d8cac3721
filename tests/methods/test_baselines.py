"""What trains by itself: each against its definition, done by hand or by torch."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from method_setting import setting
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, update_bn

from evoens.errors import SpecError
from evoens.methods.bagging import Bagging
from evoens.methods.base import Baseline, Fitted
from evoens.methods.dense import Dense
from evoens.methods.dropout import Dropout, layers_that_drop, with_dropout
from evoens.methods.fast_geometric import FastGeometric
from evoens.methods.horizontal_voting import HorizontalVoting
from evoens.methods.lottery_ticket import LotteryTicket
from evoens.methods.mc_dropout import MCDropout, Passes
from evoens.methods.model_soup import ModelSoup
from evoens.methods.registry import BASELINES
from evoens.methods.setting import Setting
from evoens.methods.single import Single
from evoens.methods.snapshot import Snapshot
from evoens.methods.swa import SWA
from evoens.plugins.spec import load_class, locate
from evoens.problem import drive
from evoens.settings.classification import TrainSettings
from evoens.tasks.lesson import FixedMasks
from evoens.tasks.networks.resnet import ResNet
from evoens.tasks.networks.wrn import WideResNet
from evoens.tasks.schedules import ConstantTail, CosineCycles, TriangularCycles

pytestmark = pytest.mark.usefixtures("one_thread")
SETTINGS = TrainSettings(epochs=10, learning_rate=0.1)


def fit(method: Baseline, own: Setting) -> Fitted:
    return method.fit(own, Path("unused"), lambda _: None)


def weights(found: Fitted) -> list[dict[str, Tensor]]:
    assert found.networks is not None
    return [dict(one) for one in found.networks.weights]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


@pytest.mark.parametrize("name", BASELINES)
def test_all_that_are_named_can_be_made_and_spend_the_budget(name: str, tmp_path: Path) -> None:
    method = load_class(locate(BASELINES[name]), Baseline)()
    assert method.name == name.replace("-", "_") or name == "soup"
    own = setting(tmp_path, 8)
    method.require(8)
    found = fit(method, own)
    assert found.networks is not None and found.spent.flops
    assert found.spent.epochs == pytest.approx(8 * (0.9 if name == "bagging" else 1))
    inputs = own.problem.probe(5)
    outputs = found.networks.outputs(inputs)
    torch.testing.assert_close(outputs.mean(0), found.parts[0]()(inputs))
    again = fit(method, own)
    assert again.networks is not None and torch.equal(again.networks.outputs(inputs), outputs)


# ---- learning rates by hand


def test_the_cosine_begins_anew_in_every_cycle() -> None:
    rates = [CosineCycles(3).rate(SETTINGS, step, 20) for step in range(20)]
    for t in range(1, 21):
        by_hand = 0.1 / 2 * (math.cos(math.pi * ((t - 1) % 7) / 7) + 1)  # ⌈20/3⌉ = 7
        assert rates[t - 1] == pytest.approx(by_hand)
    assert rates[0] == rates[7] == rates[14] == pytest.approx(0.1) and rates[6] < 0.01


def test_the_triangle_is_lowest_in_the_middle_of_a_cycle() -> None:
    cycles, epoch = TriangularCycles(first=2, cycle=2, high=0.05, low=0.001), 5
    rates = [cycles.rate(SETTINGS, step, 10 * epoch) for step in range(10 * epoch)]
    assert rates[: 2 * epoch] == [0.1] * 10
    for i in range(1, 41):
        t = ((i - 1) % 10 + 1) / 10
        by_hand = (1 - 2 * t) * 0.05 + 2 * t * 0.001 if t <= 0.5 else (2 - 2 * t) * 0.001 + (2 * t - 1) * 0.05
        assert rates[10 + i - 1] == pytest.approx(by_hand)
    assert [step for step, rate in enumerate(rates) if rate == pytest.approx(0.001)] == [
        14,
        24,
        34,
        44,
    ]  # ends of epochs


def test_the_tail_is_constant() -> None:
    tail = ConstantTail(first=2, tail=0.03)
    assert [tail.rate(SETTINGS, step, 40) for step in range(12)] == [0.1] * 8 + [0.03] * 4


# ---- whose members are whose


def test_members_of_a_deep_ensemble_are_networks_of_other_seeds(tmp_path: Path) -> None:
    own = setting(tmp_path, 4)
    first, second = weights(fit(Dense(2), own))
    assert same(first, weights(fit(Single(), setting(tmp_path, 2)))[0])
    assert not same(first, second) and not same(second, weights(fit(Single(), setting(tmp_path, 2, seed=1)))[0])


def test_a_bag_has_its_share_each_its_own(tmp_path: Path) -> None:
    own = setting(tmp_path, 2)
    examples = own.trainer.examples()
    parts = [examples.drawn(0.9, seed) for seed in (1, 2, 1)]
    places = [part.images.places.tolist() for part in parts]
    assert [len(p) for p in places] == [108] * 3 and places[0] == places[2] != places[1]
    assert all(len(set(p)) == 108 and set(p) <= set(examples.images.places.tolist()) for p in places)
    label = dict(zip(examples.images.places.tolist(), examples.images.labels.tolist(), strict=True))
    assert [label[p] for p in places[0]] == parts[0].images.labels.tolist()
    assert fit(Bagging(2, 0.5), own).spent.images == 2 * 60


def test_snapshots_are_copies_on_the_way(tmp_path: Path) -> None:
    first, last = weights(fit(Snapshot(2), setting(tmp_path, 4)))
    own = setting(tmp_path / "other", 4)
    whole = own.train(lambda _: None, cycles=CosineCycles(2))
    half = own.train(lambda _: None, epochs=2, settings=own.settings, cycles=CosineCycles(1))
    assert same(last, dict(whole.weights)) and same(first, dict(half.weights))


def test_horizontal_voting_has_the_last_epochs_of_an_ordinary_training(tmp_path: Path) -> None:
    found = weights(fit(HorizontalVoting(2), setting(tmp_path, 4)))
    assert same(found[1], weights(fit(Single(), setting(tmp_path, 4)))[0])
    assert same(found[0], weights(fit(Single(), setting(tmp_path, 3)))[0])


def test_a_fast_geometric_ensemble_ends_in_a_valley(tmp_path: Path) -> None:
    method = FastGeometric(members=3, cycle=2)
    found = fit(method, setting(tmp_path, 8))
    assert len(weights(found)) == 3 and found.spent.epochs == 8
    with pytest.raises(SpecError, match="members: expected cycles of fewer epochs than the budget's 5, found 5 for 3"):
        method.require(5)
    with pytest.raises(SpecError, match="cycle: expected an even number"):
        FastGeometric(cycle=3)


# ---- averages of weights


def test_swa_is_torch_s(tmp_path: Path) -> None:
    """Along our own rate, with statistics of BatchNorm by torch's `update_bn`."""
    own = setting(tmp_path, 4, network="resnet-18", arguments={"blocks": (1, 1), "width": 4})
    (found,) = weights(fit(SWA(begins=0.5, learning_rate=0.002), own))
    one = own.train(lambda _: None, cycles=ConstantTail(2, 0.002), keep=[3, 4])
    network = own.trainer.untrained().trainable()
    average = AveragedModel(network)
    for epoch in (3, 4):
        network.load_state_dict(one.copy(epoch))
        average.update_parameters(network)
    examples = own.trainer.examples()
    update_bn((inputs for inputs, _ in examples.batches(16, 0, 0)), average)
    expected = average.module.state_dict()
    for name, value in found.items():
        if not name.endswith("num_batches_tracked"):
            torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: n + m)
    assert any("running_mean" in name for name in found)


def test_a_uniform_soup_is_the_mean_of_networks_that_began_alike(tmp_path: Path) -> None:
    own = setting(tmp_path, 4)
    (soup,) = weights(fit(ModelSoup(members=2), own))
    start = own.train(lambda _: None, epochs=2)
    two = [own.train(lambda _: None, number, epochs=1, start=start.weights) for number in (1, 2)]
    for name, value in soup.items():
        torch.testing.assert_close(value, (two[0].weights[name] + two[1].weights[name]) / 2)


def test_a_greedy_soup_is_no_worse_on_select_than_its_best_ingredient(tmp_path: Path) -> None:
    own = setting(tmp_path, 6)
    found = fit(ModelSoup(members=3, greedy=True), own)
    start = own.train(lambda _: None, epochs=3)
    further = [own.train(lambda _: None, number, epochs=1, start=start.weights) for number in (1, 2, 3)]
    select = own.problem.split("select")
    scores = [drive(own.problem.cases(select), own.networks([one.weights]).predict).score for one in further]
    assert found.networks is not None
    assert drive(own.problem.cases(select), found.networks.predict).score >= max(scores)
    with pytest.raises(SpecError, match="shared: expected it and every member to have an epoch of 4, found 2 for 3"):
        ModelSoup(members=3).require(4)


# ---- dropout


def test_the_mean_of_many_passes_is_the_analytic_one() -> None:
    """Of logits, where what follows dropout is linear: E[W (x ∘ m) / (1 − p)] = W x."""
    network = nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3))
    passes, x = Passes(copy.deepcopy(network), 0.4, 3000, seed=3).eval(), torch.randn(4, 6)
    with torch.no_grad():
        found = passes(x)
        spread = found.std(0) / 3000**0.5
        assert ((found.mean(0) - network[1](network[0](x))).abs() < 5 * spread).all()
        hidden = network[0](x)  # Var = p/(1−p) Σ (w h)²
        analytic = (0.4 / 0.6 * (hidden[:, None] * network[1].weight).square().sum(-1)).sqrt()
        torch.testing.assert_close(found.std(0), analytic, rtol=0.1, atol=0)
        assert torch.equal(passes(x), found)


def test_dropout_falls_on_what_hidden_layers_give_and_only_in_training() -> None:
    network = nn.Sequential(nn.Linear(6, 500), nn.ReLU(), nn.Linear(500, 500), nn.ReLU(), nn.Linear(500, 3))
    seen: dict[int, Tensor] = {}
    names = list(network.state_dict())
    with_dropout(network, 0.3)
    for place in (0, 2, 4):
        network[place].register_forward_hook(lambda _, given, __, place=place: seen.update({place: given[0]}))
    x = torch.rand(8, 6) + 1
    network.train()(x)
    shares = {place: float((given == 0).double().mean()) for place, given in seen.items()}
    assert list(network.state_dict()) == names and shares[0] == 0 and len(layers_that_drop(network)) == 2
    plain = float((torch.relu(network[0](x)) == 0).double().mean())
    assert shares[2] == pytest.approx(plain + 0.3 * (1 - plain), abs=0.03)
    assert torch.equal(network.eval()(x), network(x))
    with pytest.raises(SpecError, match="expected a network with a hidden layer, found Linear"):
        with_dropout(nn.Linear(3, 3), 0.5)


def test_a_network_s_own_dropout_layers_have_the_rate() -> None:
    wide = with_dropout(WideResNet(3, 3, depth=10, width=1), 0.3)
    assert [layer.p for layer in wide.modules() if isinstance(layer, nn.Dropout)] == [0.3] * 3
    assert len(layers_that_drop(wide)) == 3
    plain = with_dropout(ResNet(3, 3, [1, 1], width=4), 0.3)
    assert plain.eval()(torch.rand(2, 3, 8, 8)).shape == (2, 3) and len(layers_that_drop(plain)) > 3


def test_mc_dropout_asks_the_network_of_dropout(tmp_path: Path) -> None:
    own = setting(tmp_path, 2)
    (plain,), (inside,) = weights(fit(Dropout(0.3), own)), weights(fit(MCDropout(0.3, passes=5), own))
    assert {f"network.{name}" for name in plain} == inside.keys() and len(list(tmp_path.iterdir())) == 1
    found = fit(MCDropout(0.3, passes=5), own).networks
    assert found is not None and found.outputs(own.problem.probe(7)).shape == (5, 7, 10)


# ---- pruned


def test_a_ticket_has_the_largest_weights_and_its_first_ones_to_begin_with(tmp_path: Path) -> None:
    own = setting(tmp_path, 4)
    found = fit(LotteryTicket(density=0.25), own)
    (ticket,), name = weights(found), "layers.0.weight"
    trained, begins = own.train(lambda _: None, epochs=2), own.trainer.untrained().weights
    kept = trained.weights[name].abs() >= trained.weights[name].abs().flatten().sort().values[-256]
    assert int(kept.sum()) == 256 and torch.equal(ticket[name] != 0, kept)
    assert ticket["layers.2.weight"].count_nonzero() == 160
    by_hand = own.train(lambda _: None, epochs=2, start=begins, masks=FixedMasks({name: kept}))
    assert same(ticket, dict(by_hand.weights))
    forward, half = 2 * (64 * 16 + 160), 2 * (256 + 160)
    assert found.spent.flops == 3 * 120 * 2 * (forward + half)


# ---- arguments


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Bagging(members=0), "members: expected an integer ≥ 1, found 0"),
        (lambda: Bagging(share=1.5), "share: expected a number > 0 and ≤ 1, found 1.5"),
        (lambda: Dropout(rate="x"), "rate: expected a number > 0 and ≤ 1, found 'x'"),  # type: ignore[arg-type]
        (lambda: Snapshot(3).require(4), r"cycles: expected what divides the budget of 4 epochs \(1, 2, 4\), found 3"),
        (lambda: HorizontalVoting(5).require(4), "last: expected at most the budget of 4 epochs, found 5"),
        (lambda: SWA(begins=1.0).require(4), "begins: expected an epoch of 4 to be left, found 1.0"),
        (lambda: LotteryTicket(rewind=2).require(4), "first: expected epochs above rewind"),
    ],
)
def test_arguments_that_cannot_be_are_named(make: Any, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        make()


def test_without_a_network_to_train_it_says_so(tmp_path: Path) -> None:
    own = setting(tmp_path, 2)
    nobody = Setting(problem=own.problem, config=own.config, device=own.device)
    with pytest.raises(SpecError, match="expected a problem whose network is trained here"):
        fit(Single(), nobody)
