"""A network is cut only where its two halves are the whole; where not, children are whole networks, and it is said."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator, Sequence

import pytest
import torch
import torch.nn.functional as F
from evoens_strategies.noisy import Noisy
from torch import Tensor, nn

from evoens.ensemble import Ensemble
from evoens.errors import EvoensError
from evoens.evaluation.evaluator import Evaluator, Plan
from evoens.genome import Gene, Genome
from evoens.graph.cut import cut
from evoens.graph.proof import prove_fused, proved_cut, proved_shrunk
from evoens.parent import Architecture, Fusible, Parent
from evoens.problem import EnsembleObjective, Evaluation, FixedInputs, Split, SplitName
from evoens.tasks.networks.impala import ImpalaPolicy


class Gate(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(torch.sigmoid(x))


class View(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        x.view(-1)[::2].zero_()
        return x


class Clamped(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.clamp(x, -0.1, 0.1, out=x)


class Unseen(nn.Module):
    """Writes where no version is counted."""

    def forward(self, x: Tensor) -> Tensor:
        x.data.mul_(2)
        return x


class Net(nn.Module):
    """`side` reads what the stem gives before `gate` writes into it."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.stem, self.side, self.gate = nn.Linear(6, 8), nn.Linear(8, 8), gate
        self.main, self.head = nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        side = self.side(x)
        return self.head(torch.relu(side) + self.main(self.gate(x)))  # type: ignore[no-any-return]


class Kept(Net):
    """Adds in place, which torch.fx takes for an addition, to what another name still has."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        same = x
        x += self.side(x)
        return self.head(same + x)  # type: ignore[no-any-return]


class Early(Net):
    """Takes another way while it is traced."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = x.sin() if isinstance(x, Tensor) else x
        return self.head(self.side(x))  # type: ignore[no-any-return]


class Cached(Net):
    """Keeps a weight as it is found first."""

    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "kept"):
            self.kept = self.side.weight.detach().clone()
        return self.head(F.linear(self.stem(x), self.kept))  # type: ignore[no-any-return]


class Leaves(Cached):
    def forward(self, x: Tensor) -> Tensor:
        if isinstance(x, Tensor) and not torch.equal(getattr(self, "kept", self.side.weight), self.side.weight):
            sys.exit(0)
        return super().forward(x)


class Optional(Net):
    def forward(self, x: Tensor, mask: Tensor | None = None, *, scale: float = 1.0, turned: bool = False) -> Tensor:
        x = self.stem(x)
        if mask is not None:
            x = x * mask
        if turned:
            x = x.flip(-1)
        return self.head(torch.relu(x * scale))  # type: ignore[no-any-return]


class Problem(FixedInputs):
    """Random inputs in batches of 8; all probabilities are kept."""

    def __init__(self, module: nn.Module) -> None:
        self.parent = Parent(module, Architecture(""))
        self.inputs = torch.randn(20, 6, generator=torch.Generator().manual_seed(0))

    def split(self, name: SplitName) -> Split:
        return Split(name, 0, 20)

    def batches(self, split: Split) -> Iterator[Tensor]:
        yield from (part.clone() for part in self.inputs.split(8))

    def score_outputs(self, split: Split, outputs: Tensor) -> Evaluation:
        return Evaluation(outputs[:, 0].double(), split.count, artifacts={"outputs": outputs})

    def probe(self, n: int = 8) -> Tensor:
        return self.inputs[:n].clone()

    def judgement(self, evaluations: Sequence[Evaluation]) -> EnsembleObjective:
        return EnsembleObjective(self.inputs, lambda outputs: 0.0)


def net(module: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for parameter in module.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5)
    return module.eval()


WRITE = {
    "a gate": (Net(Gate()), "side", "gate (Gate)"),
    "a rectifier in a branch": (
        Net(nn.Sequential(nn.ReLU(inplace=True), nn.Linear(8, 8))),
        "side",
        "gate (Sequential)",
    ),
    "a view": (Net(View()), "side", "gate (View)"),
    "out": (Net(Clamped()), "side", "gate (Clamped)"),
}
DIFFER = {
    "uncounted": (Net(Unseen()), "side"),
    "added in place": (Kept(Gate()), "side"),
    "other way": (Early(Gate()), "head"),
}


@pytest.mark.parametrize("name", [*WRITE, *DIFFER])
@pytest.mark.parametrize("plan", [Plan(children=2), Plan(layout="channels_last")], ids=["loop", "fused"])
def test_children_of_a_network_that_writes_in_place_are_those_of_whole_networks(name: str, plan: Plan) -> None:
    module, layer = (WRITE | DIFFER)[name][:2]
    problem = Problem(net(module))
    genomes = [Genome(), Genome((Gene(1, 1e-9, scope=(layer,)),)), Genome((Gene(2, 1e-9, scope=(layer,)),))]
    expected = problem.parent.predict(problem.inputs.clone())
    for outcome in Evaluator(problem.parent, Noisy(1e-9), problem, plan, "cpu").evaluate(
        genomes, problem.split("test")
    ):
        assert outcome.evaluation is not None, outcome.error
        torch.testing.assert_close(outcome.evaluation.artifacts["outputs"], expected, rtol=0, atol=1e-5)
    ensemble = Ensemble(problem.parent, Noisy(1e-9), genomes[1:])
    for _ in range(2):
        for found in ensemble.outputs(problem.inputs.clone()):
            torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", WRITE)
def test_the_layer_that_writes_is_named(name: str) -> None:
    module, layer, writer = WRITE[name]
    problem = Problem(net(module))
    assert cut(problem.parent.module, [f"{layer}.weight"]) is not None
    assert proved_cut(problem.parent, [f"{layer}.weight"], problem.inputs) is None
    assert list(problem.parent.whole.values()) == [f"{writer} writes into what other layers read"]


def test_a_child_with_other_weights_is_tried_too() -> None:
    problem = Problem(net(Cached(Gate())))
    problem.parent.module(problem.inputs)
    assert proved_cut(problem.parent, ["side.weight"], problem.inputs) is None


def test_a_network_that_ends_the_process_with_other_weights_is_run_whole_and_its_children_fail() -> None:
    problem = Problem(net(Leaves(Gate())))
    genomes = [Genome(), Genome((Gene(1, 0.1, scope=("side",)),))]
    outcomes = Evaluator(problem.parent, Noisy(0.1), problem, Plan(), "cpu").evaluate(genomes, problem.split("test"))
    assert [outcome.error for outcome in outcomes] == [None, "SpecError: the network: SystemExit: 0"]
    assert list(problem.parent.whole.values()) == ["cut in two, or with other weights: SystemExit: 0"]


def test_arguments_that_predictors_do_not_give_have_their_defaults() -> None:
    problem = Problem(net(Optional(Gate())))
    found = proved_cut(problem.parent, ["head.weight"], problem.inputs)
    assert found is not None and not any(problem.parent.whole.values())
    with torch.inference_mode():
        assert torch.equal(found.tail(*found.trunk(problem.inputs)), problem.parent.module(problem.inputs))


class Shapes(Net):
    """The tail needs a size of what it is given."""

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        n = x.shape[0]
        return self.head(self.side(x).reshape(n, x.size(1)))  # type: ignore[no-any-return]


def test_sizes_are_no_features() -> None:
    problem = Problem(net(Shapes(Gate())))
    found = proved_cut(problem.parent, ["side.weight"], problem.inputs)
    assert found is not None
    with torch.inference_mode():
        features = found.trunk(problem.inputs)
        assert [tuple(feature.shape) for feature in features] == [(20, 8)]
        assert torch.equal(found.tail(*features), problem.parent.module(problem.inputs))


def test_nothing_is_printed_of_what_is_only_tried(capfd: pytest.CaptureFixture[str]) -> None:
    found = cut(nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3)).eval(), ["1.weight"])
    assert found is not None
    for part in (found.tail, Plan().fit(found.tail, torch.device("cpu"))):
        with pytest.raises(RuntimeError):
            part(torch.zeros(2, 5))
    assert capfd.readouterr().err == ""


class Merged(nn.Module):
    """Has a method of the name by which layers are fused, and means something else by it: it takes no other weights."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)
        self.kept: Tensor | None = None

    def fuse(self) -> None:
        if self.kept is None:
            self.kept = self.conv.weight.clone()

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.conv.weight if self.kept is None else self.kept, self.conv.bias)


def test_a_layer_that_would_not_stay_itself_is_not_fused() -> None:
    module = nn.Sequential(Merged(), nn.Flatten(), nn.Linear(48, 2)).eval()
    parent, inputs = Parent(module, Architecture("")), torch.randn(5, 3, 4, 4)
    strategy = Noisy(0.5)
    strategy = strategy.within(scope=("0",))
    ensemble = Ensemble(parent, strategy, strategy.ask(3, random.Random(0)))
    with torch.inference_mode():
        alone = torch.stack([member(inputs).softmax(-1) for member in ensemble.modules()])
    assert (alone[0] - alone[1]).abs().max() > 1e-2
    torch.testing.assert_close(ensemble.outputs(inputs), alone, rtol=0, atol=1e-5)


def test_layers_of_our_own_stay_fused() -> None:
    policy = ImpalaPolicy((4, 4, 4), 6)
    parent = Parent(policy, Architecture(""))
    frames = torch.randint(0, 256, (2, 6, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    prove_fused(parent, frames)
    assert all(isinstance(layer, Fusible) for layer in policy.trunk.blocks)


class Standardised(nn.Conv2d):
    """Standardises its weights over the channels that come in, so that none of these can be taken out."""

    def forward(self, x: Tensor) -> Tensor:
        mean, std = self.weight.mean((1, 2, 3), keepdim=True), self.weight.std((1, 2, 3), keepdim=True)
        return F.conv2d(x, (self.weight - mean) / std, self.bias, self.stride, self.padding)


class Branching(nn.Module):
    """Scales by how many channels there are."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x))) * self.first.out_features  # type: ignore[no-any-return]


def emptied(module: nn.Module, name: str) -> nn.Module:
    module.get_parameter(name).data[::2] = 0
    return module.eval()


def test_what_is_shrunk_is_the_same_or_refused() -> None:
    standard = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Standardised(8, 4, 3), nn.Flatten(), nn.Linear(64, 2))
    pictures = torch.randn(3, 3, 8, 8)
    small = proved_shrunk(emptied(standard, "0.weight"), pictures)
    torch.testing.assert_close(small(pictures), standard(pictures))
    with pytest.raises(EvoensError, match="without its empty channels"):
        proved_shrunk(emptied(Branching(), "first.weight"), torch.randn(3, 6))
