"""What children share against children built one by one, each a whole network of its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from counted import rows_of
from evoens_strategies.noisy import Noisy
from torch import Tensor, nn

from evoens.children import TunedWeights, initial_weights
from evoens.evaluation import batch_runner
from evoens.evaluation.evaluator import Evaluator, Outcome, Plan
from evoens.evaluation.memory import MOST
from evoens.evaluation.planning import Batches
from evoens.evaluation.trunk_cache import TrunkCache
from evoens.genome import Gene, Genome
from evoens.parent import Architecture, Parent
from evoens.problem import EnsembleObjective, Evaluation, FixedInputs, Split, SplitName
from evoens.scope import resolve
from evoens.tasks.networks.lenet import LeNet
from evoens.tasks.networks.mlp import MLP
from evoens.tasks.networks.resnet import ResNet
from evoens.tasks.networks.wrn import WideResNet
from tests.evaluation.test_plan import EVERY

SEARCH, SELECT = Split("search", 0, 22), Split("select", 0, 10)
PLAIN, LANES, VMAP = Plan(), Plan(children=3), Plan("vmap", children=4)
every_plan = pytest.mark.parametrize("plan", [PLAIN, LANES, VMAP], ids=["loop", "lanes", "vmap"])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Images(FixedInputs):
    """Random images in batches of 8; all probabilities are kept."""

    def __init__(self, module: nn.Module, side: int = 16) -> None:
        torch.manual_seed(0)
        for layer in module.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.running_mean.uniform_(-0.2, 0.2)
                layer.running_var.uniform_(0.5, 1.5)
        self.parent = Parent(module, Architecture(""))
        self.inputs = torch.randn(32, 3, side, side)

    def split(self, name: SplitName) -> Split:
        return {"search": SEARCH, "select": SELECT, "test": SELECT}[name]

    def batches(self, split: Split) -> Iterator[Tensor]:
        first = split.first + (0 if split.name == "search" else SEARCH.count)
        yield from torch.split(self.inputs[first : first + split.count], 8)

    def score_outputs(self, split: Split, outputs: Tensor) -> Evaluation:
        assert len(outputs) == split.count
        return Evaluation(outputs[:, 0].double(), split.count, artifacts={"outputs": outputs})

    def probe(self, n: int = 8) -> Tensor:
        return self.inputs[:n]

    def judgement(self, evaluations: Sequence[Evaluation]) -> EnsembleObjective:
        return EnsembleObjective(self.inputs, lambda outputs: 0.0)

    def expected(self, strategy: Noisy, genome: Genome, split: Split = SEARCH) -> Tensor:
        """The child's probabilities, from a module of its own."""
        child = self.parent.child(initial_weights(self.parent, strategy, genome))
        return torch.cat([child.predict(inputs) for inputs in self.batches(split)])


def lenet() -> Images:
    torch.manual_seed(1)
    return Images(LeNet(4, width=1, side=16))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[str, ...]]] = {
    "LeNet": (lambda: LeNet(4, width=1, side=16), ("conv2", "fc1", "fc3")),
    "MLP": (lambda: MLP(4, 3 * 16 * 16, (12, 8)), ("layers.2", "layers.4")),
    "ResNet": (
        lambda: ResNet(4, blocks=(1, 2, 1), width=4),
        ("layer1.0.conv2", "layer2.1.conv1", "layer3.0.downsample", "fc"),
    ),
    "WRN": (lambda: WideResNet(4, depth=10, width=1), ("layer1.0.conv2", "layer2.0.shortcut", "fc")),
}


def children(n: int, *scope: str, seed: int = 0) -> list[Genome]:
    strategy = Noisy(sigma=0.3)
    strategy = strategy.within(scope=scope)
    return strategy.ask(n, random.Random(seed))


def kept(outcomes: Sequence[Outcome]) -> dict[str, Tensor]:
    return {o.genome.key: o.evaluation.artifacts["outputs"] for o in outcomes if o.evaluation is not None}


def evaluator(
    problem: Images, plan: Plan | None = PLAIN, *scope: str, strategy: Noisy | None = None, **more: Any
) -> Evaluator:
    strategy = strategy or Noisy(sigma=0.3)
    strategy = strategy.within(scope=resolve(scope, problem.parent.perturbed))
    return Evaluator(problem.parent, strategy, problem, plan, "cpu", **more)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many inputs each pass of a trunk had."""
    return rows_of(monkeypatch, TrunkCache, "_features")


# ---- the same children


@pytest.mark.parametrize("name", NETWORKS)
def test_children_that_share_a_trunk_are_those_of_whole_networks(name: str, passes: list[int]) -> None:
    torch.manual_seed(1)
    build, layers = NETWORKS[name]
    problem, strategy = Images(build()), Noisy(sigma=0.3)
    for layer in layers:
        genomes = children(3, layer)
        found = kept(evaluator(problem, PLAIN, layer).evaluate(genomes, SEARCH))
        assert all(torch.equal(found[g.key], problem.expected(strategy, g)) for g in genomes)
        assert not torch.equal(found[genomes[0].key], found[genomes[1].key])
    assert passes == [8, 8, 6] * len(layers)


@pytest.mark.parametrize("plan", EVERY, ids=lambda p: f"{p.batching}-{p.layout}-{p.precision}")
@pytest.mark.parametrize("layer", ["conv2", "fc1"])
def test_every_plan_computes_the_child(plan: Plan, layer: str) -> None:
    problem, genomes = lenet(), children(3, layer)
    found = kept(evaluator(problem, plan, layer).evaluate(genomes, SEARCH))
    for genome in genomes:
        tolerance = 1e-5 if plan.precision == "float32" else 4e-2
        expected = problem.expected(Noisy(sigma=0.3), genome)
        assert found[genome.key].dtype == torch.float32
        torch.testing.assert_close(found[genome.key], expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("name", ["ResNet", "WRN"])
def test_what_is_fused_in_channels_last_stays_the_child(name: str) -> None:
    torch.manual_seed(1)
    build, layers = NETWORKS[name]
    problem = Images(build())
    for layer in layers:
        genomes = children(2, layer)
        found = kept(evaluator(problem, Plan(layout="channels_last"), layer).evaluate(genomes * 2, SEARCH))
        for genome in genomes:
            expected = problem.expected(Noisy(sigma=0.3), genome)
            torch.testing.assert_close(found[genome.key], expected, rtol=0, atol=1e-5)


# ---- whoever else is there


def mixed() -> list[Genome]:
    """Children of one layer, of another, of two, of all, stacked over several layers, and the parent."""
    late, early = children(5, "fc2"), children(3, "conv2", seed=1)
    stacked = [late[0].stacked(early[0].genes[0]), late[1].stacked(late[2].genes[0])]
    return [Genome(), *late, *early, *children(2, "fc1", "fc3", seed=2), *children(2, seed=3), *stacked]


@every_plan
def test_bits_depend_neither_on_the_order_nor_on_who_else_is_there(plan: Plan) -> None:
    problem, genomes = lenet(), mixed()
    whole = kept(evaluator(problem, plan, "fc2").evaluate(genomes, SEARCH))
    shuffled = genomes.copy()
    random.Random(3).shuffle(shuffled)
    other, again = evaluator(problem, plan, "fc2"), {}
    for part in (shuffled[:1], shuffled[1:4], shuffled[4:]):
        again |= kept(other.evaluate(part, SEARCH))
    assert whole.keys() == again.keys() and len(whole) == len(genomes)
    assert all(torch.equal(whole[key], again[key]) for key in whole)
    for genome in genomes:
        expected = problem.expected(Noisy(sigma=0.3), genome)
        torch.testing.assert_close(whole[genome.key], expected, rtol=0, atol=2e-5)


@every_plan
def test_results_come_in_order_whoever_runs_first(plan: Plan) -> None:
    told: list[int] = []
    genomes = mixed()
    outcomes = evaluator(lenet(), plan, "fc2").evaluate(genomes, SEARCH, lambda place, _: told.append(place))
    assert told == list(range(len(genomes))) and [o.genome for o in outcomes] == genomes


def test_the_parent_runs_as_a_child_of_the_scope(passes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    problem = lenet()
    ours = evaluator(problem, PLAIN, "fc1")
    monkeypatch.setattr(problem, "cases", lambda split: pytest.fail("the whole network ran"))
    genomes = [children(1, "fc1")[0], Genome(), children(1, "fc1", seed=1)[0]]
    found = kept(ours.evaluate(genomes, SEARCH))
    assert torch.equal(found[Genome().key], problem.expected(Noisy(sigma=0.3), Genome()))
    assert passes == [8, 8, 6]


def test_a_split_is_computed_once_until_another_comes(passes: list[int]) -> None:
    ours = evaluator(lenet(), PLAIN, "fc1")
    for split, more in ((SEARCH, [8, 8, 6]), (SEARCH, []), (SELECT, [8, 2]), (Split("search", 0, 9), [8, 1])):
        passes.clear()
        ours.evaluate(children(2, "fc1"), split)
        assert passes == more


# ---- memory


@every_plan
def test_what_does_not_fit_is_computed_again_to_the_same_bits(
    plan: Plan, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    problem, genomes = lenet(), children(6, "fc1")
    expected = kept(evaluator(problem, plan, "fc1").evaluate(genomes, SEARCH))
    monkeypatch.setattr(batch_runner, "GROUP", 4)
    monkeypatch.setattr(batch_runner, "nbytes", lambda _: 0)  # of the children's copies
    monkeypatch.setattr("evoens.evaluation.evaluator.budget", lambda _: 0)  # nothing is kept for ensembles
    for limit, blocks in ((1, 3), (8 * 32 * 4 * 2, 2)):  # nothing fits but the batch that is needed; two batches do
        passes.clear()
        monkeypatch.setattr(batch_runner, "budget", lambda _, limit=limit: limit)
        ours = evaluator(problem, plan, "fc1")
        block = TrunkCache.blocks
        seen: list[int] = []

        def watched(self: TrunkCache, split: Split, block: object = block, seen: list[int] = seen) -> Iterator[None]:
            for _ in block(self, split):  # type: ignore[operator]
                seen.append(len(self._block))
                yield

        with monkeypatch.context() as patch:
            patch.setattr(TrunkCache, "blocks", watched)
            found = kept(ours.evaluate(genomes, SEARCH))
        assert passes == [8, 8, 6] * 2 and len(seen) == 2 * blocks  # a group of four, a group of two
        assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)


# ---- children that fail


class Faulty(Noisy):
    """Breaks on genes of certain seeds, each in its own way."""

    def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
        if gene.seed == 1:
            raise RuntimeError("this gene is broken")
        if gene.seed == 2:
            return torch.full_like(weight, torch.nan)
        if gene.seed == 3:
            return torch.zeros(1)
        return super().perturb(name, weight, gene)


@every_plan
@pytest.mark.parametrize("limit", [1, MOST], ids=["blocks", "kept"])
def test_a_child_that_fails_leaves_the_others_as_they_are(
    plan: Plan, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_runner, "budget", lambda _: limit)
    problem = lenet()
    ours = evaluator(problem, plan, "fc1", strategy=Faulty(sigma=0.3))
    genomes = [Genome((Gene(seed, 0.3, scope=("fc1",)),)) for seed in (10, 1, 11, 2, 3, 12)]
    outcomes = ours.evaluate(genomes, SEARCH)
    assert [o.status for o in outcomes] == ["ok", "failed", "ok", "failed", "failed", "ok"]
    errors = [str(o.error) for o in outcomes]
    assert "this gene is broken" in errors[1] and "not finite" in errors[3] and "ShapeError" in errors[4]
    alone = kept(ours.evaluate([genomes[0], genomes[2], genomes[5]], SEARCH))
    assert all(torch.equal(alone[key], value) for key, value in kept(outcomes).items())


def test_a_judge_that_raises_fails_its_child_only() -> None:
    class Sour(Images):
        calls = 0

        def score_outputs(self, split: Split, outputs: Tensor) -> Evaluation:
            self.calls += 1
            if self.calls == 2:
                raise ValueError("no such label")
            return super().score_outputs(split, outputs)

    outcomes = evaluator(Sour(LeNet(4, width=1, side=16)), PLAIN, "fc1").evaluate(children(3, "fc1"), SEARCH)
    assert [o.error for o in outcomes] == [None, "ValueError: no such label", None]


@every_plan
def test_an_error_in_what_is_shared_fails_all_that_share_it(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = lenet()
    ours = evaluator(problem, plan, "fc1")
    with monkeypatch.context() as patch:
        patch.setattr(problem, "batches", lambda split: broken(Images.batches(problem, split)))
        outcomes = ours.evaluate(children(5, "fc1"), SEARCH)
    assert [o.error for o in outcomes] == ["OSError: no such file"] * 5
    assert all(o.status == "ok" for o in ours.evaluate(children(5, "fc1"), SEARCH))


def broken(batches: Iterator[Tensor]) -> Iterator[Tensor]:
    yield next(batches)
    raise OSError("no such file")


def test_an_interrupt_leaves_nothing_half_done(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, genomes = lenet(), children(2, "fc1")
    ours = evaluator(problem, PLAIN, "fc1")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(problem, "batches", lambda split: interrupted(Images.batches(problem, split)))
        ours.evaluate(genomes, SEARCH)
    found = kept(ours.evaluate(genomes, SEARCH))
    assert all(torch.equal(found[g.key], problem.expected(Noisy(sigma=0.3), g)) for g in genomes)


def interrupted(batches: Iterator[Tensor]) -> Iterator[Tensor]:
    yield next(batches)
    raise KeyboardInterrupt


# ---- whole networks


class Branches(nn.Module):
    """Cannot be traced: it looks at values."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(3 * 16 * 16, 8), nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x.flatten(1))
        return self.last(-x if x.sum() > 0 else x)  # type: ignore[no-any-return]


def test_a_network_that_cannot_be_traced_runs_whole_and_it_is_known(passes: list[int]) -> None:
    problem, genomes = Images(Branches()), children(3, "last")
    ours = evaluator(problem, PLAIN, "last")
    found = kept(ours.evaluate(genomes, SEARCH))
    assert all(torch.equal(found[g.key], problem.expected(Noisy(sigma=0.3), g)) for g in genomes)
    assert ours.untraced and passes == []
    assert not evaluator(problem, PLAIN).untraced  # with all layers there is nothing to share
    assert not evaluator(lenet(), PLAIN, "fc1").untraced


def test_tuned_children_run_whole(tmp_path: Path, passes: list[int]) -> None:
    problem, (one, other) = lenet(), children(2, "fc1")
    tuned = TunedWeights(tmp_path)
    weights = {name: value + 0.1 for name, value in problem.parent.weights.items()}
    tuned.save(one, weights)
    outcomes = evaluator(problem, PLAIN, "fc1", tuned=tuned).evaluate([one, Genome(), other], SEARCH)
    expected = torch.cat([problem.parent.child(weights).predict(x) for x in problem.batches(SEARCH)])
    found = kept(outcomes)
    assert torch.equal(found[one.key], expected)
    assert torch.equal(found[Genome().key], torch.cat([problem.parent.predict(x) for x in problem.batches(SEARCH)]))
    assert "CheckpointError" in str(outcomes[2].error) and passes == []


# ---- the plan


def test_the_plan_is_measured_on_the_tail(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[set[str], tuple[str, ...], object]] = []

    def measured(module: nn.Module, own: tuple[str, ...], batches: Batches, *_: object) -> Plan:
        seen.append((set(module.state_dict()), own, batches.rows))
        return Plan()

    monkeypatch.setattr("evoens.evaluation.evaluator.quickest", measured)
    assert evaluator(lenet(), None, "fc2").plan == Plan(layout="channels_last")  # for the trunk
    (names, own, features) = seen[0]
    assert names == {f"{layer}.{kind}" for layer in ("fc2", "fc3") for kind in ("weight", "bias")}
    assert own == ("fc2.weight",) and isinstance(features, tuple) and features[0].shape == (4, 256)
    assert evaluator(lenet(), None, "conv2").plan == Plan() and "conv1.weight" not in seen[1][0]
    assert evaluator(lenet(), None).plan == Plan() and isinstance(seen[2][2], Tensor)


def test_without_a_plan_one_is_measured() -> None:
    problem, genomes = lenet(), children(3, "fc1")
    found = kept(evaluator(problem, None, "fc1").evaluate(genomes, SEARCH))
    for genome in genomes:
        torch.testing.assert_close(found[genome.key], problem.expected(Noisy(sigma=0.3), genome), rtol=0, atol=4e-2)
