"""Children on inputs of their own whose trunk is computed for all in one batch, against each playing alone."""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence

import pytest
import torch
from counted import rows_of
from faulty import Faulty
from torch import Tensor, nn

from evoens.children import initial_weights
from evoens.evaluation import batch_runner
from evoens.evaluation.batch_runner import BatchRunner
from evoens.evaluation.evaluator import Evaluator, Outcome, Plan
from evoens.evaluation.trunk import ROWS, Trunk, shared_trunk
from evoens.genome import Gene, Genome
from evoens.parent import Architecture, Parent
from evoens.problem import EnsembleObjective, Evaluation, Measure, Problem, Split, SplitName, drive
from evoens.scope import resolve
from evoens.settings.evaluation import EvaluationSettings
from evoens.settings.procgen import Levels, ProcgenSettings, SplitLevels
from evoens.tasks.networks.impala import ImpalaPolicy
from evoens.tasks.procgen import ProcgenProblem

pytestmark = pytest.mark.usefixtures("one_thread")
CPU = torch.device("cpu")
ONE, LANES = Plan(layout="channels_last"), Plan(layout="channels_last", children=3)
plans = pytest.mark.parametrize("plan", [ONE, LANES], ids=["one", "lanes"])
SEARCH = Split("search", 0, 9)


class Small(nn.Module):
    """Two convolutions, then two layers; as images have it, in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.conv0, self.conv1 = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.linear, self.head = nn.Linear(8 * 8 * 8, 16), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.conv1(torch.relu(self.conv0(x))))
        return self.head(torch.relu(self.linear(x.flatten(1))))  # type: ignore[no-any-return]


class Walks(Problem):
    """Each case is a walk over images: where it goes, and when it ends, is what the child's answers say."""

    measures = (Measure("steps", "steps", "steps"),)

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.parent = Parent(Small(), Architecture(""))
        self.images = torch.rand(64, 3, 8, 8).contiguous(memory_format=torch.channels_last)

    def split(self, name: SplitName) -> Split:
        return SEARCH

    def cases(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
        places, sums, steps = torch.arange(split.first, split.first + split.count), [], 0
        while len(places) and steps < 30:
            outputs = yield self.images[places % 64]
            sums.append(outputs)
            moves = (outputs[:, 0] * 1e5).long()
            places, steps = (places + moves)[moves % 11 > 0], steps + 1
        kept = torch.cat(sums)
        return Evaluation(kept[:, 0].double(), len(kept), artifacts={"outputs": kept})

    def probe(self, n: int = 8) -> Tensor:
        return self.images[:n]

    def judgement(self, evaluations: Sequence[Evaluation]) -> EnsembleObjective:
        return EnsembleObjective(self.images, lambda outputs: 0.0)


def evaluator(problem: Problem, plan: Plan, layer: str = "linear", **more: EvaluationSettings) -> Evaluator:
    strategy = Faulty(sigma=0.3).within(scope=resolve(layer, problem.parent.perturbed))
    return Evaluator(problem.parent, strategy, problem, plan, "cpu", **more)


def genomes(*seeds: int, layer: str = "linear") -> list[Genome]:
    return [Genome((Gene(seed, 0.3, scope=(f"{layer}.weight",)),)) for seed in seeds]


def kept(outcomes: Sequence[Outcome]) -> dict[str, Tensor]:
    return {o.genome.key: o.evaluation.artifacts["outputs"] for o in outcomes if o.evaluation is not None}


def alone(problem: Problem, genome: Genome, split: Split, layer: str = "linear") -> Evaluation:
    """A child in a whole network of its own, playing alone."""
    strategy = Faulty(sigma=0.3)
    child = problem.parent.child(initial_weights(problem.parent, strategy, genome))
    child.module.to(memory_format=torch.channels_last)
    child.fuse()
    return drive(problem.cases(split), child.predict)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows each pass of a trunk had, but for those that prove it."""
    return rows_of(monkeypatch, Trunk, "__call__")


@plans
def test_children_in_one_batch_walk_as_each_does_alone(plan: Plan, passes: list[int]) -> None:
    problem, children = Walks(), [Genome(), *genomes(*range(10, 20))]
    found = kept(evaluator(problem, plan).evaluate(children, SEARCH))
    lengths = set()
    for genome in children:
        expected = alone(problem, genome, SEARCH).artifacts["outputs"]
        assert torch.equal(found[genome.key], expected)
        lengths.add(len(expected))
    assert len(lengths) > 3  # their inputs do differ
    assert max(passes) > 3 * SEARCH.count and sum(passes) == sum(map(len, found.values()))


@plans
def test_bits_depend_neither_on_the_order_nor_on_who_is_left(plan: Plan) -> None:
    problem, children = Walks(), [Genome(), *genomes(*range(10, 20)), *genomes(30, 31, layer="head")]
    whole = kept(evaluator(problem, plan).evaluate(children, SEARCH))
    shuffled, again = children.copy(), dict[str, Tensor]()
    random.Random(3).shuffle(shuffled)
    other = evaluator(problem, plan)
    for part in (shuffled[:1], shuffled[1:4], shuffled[4:]):
        again |= kept(other.evaluate(part, SEARCH))
    assert whole.keys() == again.keys() and len(whole) == len(children)
    assert all(torch.equal(whole[key], again[key]) for key in whole)


@plans
def test_a_child_that_fails_leaves_those_in_its_batch_as_they_are(plan: Plan) -> None:
    problem = Walks()

    class Sour(Walks):
        calls = 0

        def cases(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
            self.calls += 1
            if self.calls == 3:  # the second never began
                yield self.images[:2]
                raise ValueError("no such level")
            return (yield from super().cases(split))

    outcomes = evaluator(Sour(), plan).evaluate(genomes(10, 1, 11, 12, 2, 13), SEARCH)
    errors = [str(o.error) for o in outcomes]
    assert "this gene is broken" in errors[1] and "no such level" in errors[3] and "not finite" in errors[4]
    found = kept(outcomes)
    assert len(found) == 3
    for genome in genomes(10, 11, 13):
        assert torch.equal(found[genome.key], alone(problem, genome, SEARCH).artifacts["outputs"])


@plans
def test_an_error_in_the_trunk_fails_those_in_the_batch(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = evaluator(Walks(), plan)
    with monkeypatch.context() as patch:
        patch.setattr(Trunk, "__call__", lambda self, rows: (_ for _ in ()).throw(OSError("no memory")))
        outcomes = ours.evaluate(genomes(10, 11, 12), SEARCH)
    assert [o.error for o in outcomes] == ["OSError: no memory"] * 3
    assert all(o.status == "ok" for o in ours.evaluate(genomes(10, 11, 12), SEARCH))


def test_few_places_are_taken_anew_and_memory_bounds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, children = Walks(), genomes(*range(10, 22))
    expected = kept(evaluator(problem, LANES).evaluate(children, SEARCH))
    monkeypatch.setattr(batch_runner, "TOGETHER", 2)
    ours = evaluator(problem, LANES)
    assert [lane.places for lane in runner(ours)._lanes] == [2, 2, 2]
    found = kept(ours.evaluate(children, SEARCH))
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    monkeypatch.setattr(batch_runner, "TOGETHER", 16)
    tail = 4 * (8 * 8 * 8 * 16 + 16 + 16 * 4 + 4)  # bytes
    tight = evaluator(problem, LANES, settings=EvaluationSettings(memory=2 * 3 * 5.5 * tail / 1e9))
    assert [lane.places for lane in runner(tight)._lanes] == [5, 5, 5]


def runner(ours: Evaluator) -> BatchRunner:
    return ours._runner(ours._scope)


def test_rows_that_are_not_kept_apart_share_nothing(passes: list[int]) -> None:
    """A network may mix its rows, and a convolution of one image in another layout adds up in another order."""

    class Mixing(Small):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x - x.mean(0, keepdim=True))

    problem = Walks()
    problem.parent = Parent(Mixing(), Architecture(""))
    parts = shared_trunk(problem, problem.parent, ("linear.weight",))
    assert parts is not None and not Trunk(parts.trunk, ONE, CPU).alike(problem.probe())
    outcomes = evaluator(problem, ONE).evaluate(genomes(10, 11), SEARCH)
    assert passes == []
    for outcome in outcomes:
        expected = alone(problem, outcome.genome, SEARCH)
        assert outcome.evaluation is not None and torch.equal(outcome.evaluation.cases, expected.cases)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("lanes", [1, 2])
def test_rows_of_a_policys_convolutions_have_their_bits_in_any_batch(precision: str, lanes: int) -> None:
    torch.manual_seed(0)
    parent = Parent(ImpalaPolicy((16, 32, 32), 6), Architecture(""))
    frames = torch.randint(0, 256, (ROWS, 64, 64, 6), dtype=torch.uint8).permute(0, 3, 1, 2)
    problem = Walks()
    problem.parent, problem.images = parent, frames
    parts = shared_trunk(problem, parent, ("trunk.linear.weight",))
    plan = Plan.from_json({"layout": "channels_last", "precision": precision, "children": lanes})
    assert parts is not None and Trunk(parts.trunk, plan, CPU).alike(frames)


@plans
def test_games_are_those_that_each_child_plays_alone(plan: Plan, passes: list[int]) -> None:
    torch.manual_seed(0)
    parent = Parent(ImpalaPolicy((4, 4, 4), 6), Architecture(""))
    four = {name: Levels(start=1000 * i, count=4) for i, name in enumerate(("train", "search", "select", "test"))}
    settings = ProcgenSettings(game="bigfish", levels=SplitLevels(**four), max_episode_steps=60)
    problem, layer = ProcgenProblem(settings, parent), "trunk.linear"
    children = [Genome(), *genomes(10, 11, 12, 13, layer=layer)]
    for split in (problem.split("search"), problem.split("select")):
        outcomes = evaluator(problem, plan, layer).evaluate(children, split)
        for outcome in outcomes:
            expected = alone(problem, outcome.genome, split)
            assert outcome.evaluation is not None
            assert torch.equal(outcome.evaluation.cases, expected.cases)
            assert outcome.evaluation.samples == expected.samples
            assert all(torch.equal(outcome.evaluation.artifacts[n], rows) for n, rows in expected.artifacts.items())
    assert max(passes) > 4
