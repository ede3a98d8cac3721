"""The plan that children are run by: the same whatever the clock says, unless others give the same bits."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evoens.evaluation import planning
from evoens.evaluation.plan import DTYPES, FORMATS, Loop, Plan, Runner, Stack
from evoens.evaluation.planning import GROUP, Batches, quickest
from evoens.machine.threads import lanes
from evoens.settings.evaluation import EvaluationSettings
from evoens.tasks.networks.impala import ImpalaPolicy
from evoens.tasks.networks.lenet import LeNet
from evoens.tasks.networks.mlp import MLP

CPU = torch.device("cpu")
SETTINGS = EvaluationSettings()
FAVOURED: list[Callable[[Runner], bool]] = [
    lambda room: room.plan.children == 1,
    lambda room: room.plan.children > 1 and isinstance(room, Loop),
    lambda room: isinstance(room, Stack),
]


@pytest.fixture(autouse=True)
def _two_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def clock(monkeypatch: pytest.MonkeyPatch, seconds: Callable[[Runner], float]) -> None:
    """Have every pass take so long, as far as the choice knows; passes are made all the same."""
    plain = planning._seconds

    def measured(room: Runner, inputs: Any) -> float:
        plain(room, inputs)
        return seconds(room)

    monkeypatch.setattr(planning, "_seconds", measured)
    ticks = itertools.count()
    monkeypatch.setattr(planning.time, "perf_counter", lambda: float(next(ticks)))


def chosen(module: nn.Module, inputs: Any, settings: EvaluationSettings = SETTINGS) -> Plan:
    own = [name for name in module.state_dict() if name.endswith("weight")]
    return quickest(module, own, Batches(inputs, {5}), CPU, settings)


def networks() -> dict[str, tuple[nn.Module, Any]]:
    torch.manual_seed(0)
    return {
        "mlp": (MLP(10, 64), torch.randn(4, 1, 8, 8)),
        "lenet": (LeNet(10), torch.randn(4, 3, 32, 32)),
        "impala": (ImpalaPolicy((4, 4, 4), 6), torch.randint(0, 256, (4, 6, 64, 64), dtype=torch.uint8)),
        "tail": (nn.Linear(256, 10), (torch.randn(4, 256),)),
    }


@pytest.mark.parametrize("name", ["mlp", "lenet", "impala", "tail"])
def test_whatever_the_clock_says_children_have_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module, inputs = networks()[name]
    own = [n for n in module.state_dict() if n.endswith("weight")]
    plans = set()
    for favoured in FAVOURED:
        clock(monkeypatch, lambda room, favoured=favoured: 1e-4 if favoured(room) else 2e-4)
        plans.add(chosen(module.eval(), inputs))
    assert {plan.precision for plan in plans} == {"float32"}
    answers = []
    for plan in plans:
        room = planning.make_runner(module, own, plan, CPU)
        room.load(0, planning._flipped({n: module.state_dict()[n] for n in own}))
        for size in (1, 5, 16, 64):
            rows = planning._rows(inputs, size)
            rows = plan.fit_inputs(rows, CPU) if isinstance(rows, tuple) else rows
            answers.append((size, room.predict(dict.fromkeys(range(plan.children), rows))[0]))
    assert all(torch.equal(a, b) for (m, a), (n, b) in itertools.combinations(answers, 2) if m == n)


def test_where_bits_are_equal_the_quickest_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    module, inputs = Odd(torch.abs), (torch.rand(4, 256),)  # it adds nothing up, so that all ways give equal bits
    clock(monkeypatch, lambda room: 1e-4 if isinstance(room, Stack) else 2e-4)
    assert chosen(module, inputs) == Plan("vmap", "contiguous", "float32", GROUP)
    clock(monkeypatch, lambda room: 1e-4)
    assert chosen(module, inputs) == Plan("loop", "contiguous", "float32", lanes(CPU))


class Spy(nn.Module):
    """Says which layouts and precisions it was asked in; refuses what it is told to."""

    def __init__(self, refused: Callable[[Tensor], bool] = lambda x: False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.seen: set[tuple[torch.dtype, bool]] = set()
        self.refused = refused

    def __deepcopy__(self, memo: Any) -> Spy:
        copied = Spy(self.refused)
        copied.conv.load_state_dict(self.conv.state_dict())
        copied.seen = self.seen
        return copied

    def forward(self, x: Tensor) -> Tensor:
        if self.refused(x):
            raise RuntimeError("not like this")
        self.seen.add((x.dtype, x.is_contiguous(memory_format=torch.channels_last)))
        y: Tensor = self.conv(x).flatten(1)[:, :4]
        return y


IMAGES = torch.rand(4, 3, 8, 8)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_no_other_precision_than_that_of_the_settings_is_tried(precision: Any) -> None:
    spy = Spy()
    assert chosen(spy, IMAGES, EvaluationSettings(precision=precision)).precision == precision
    assert {dtype for dtype, _ in spy.seen} == {DTYPES[precision]}


def test_images_go_in_channels_last_where_the_network_takes_them() -> None:
    assert chosen(Spy(), IMAGES).layout == "channels_last"
    other = Spy(lambda x: x.is_contiguous(memory_format=FORMATS["channels_last"]))
    assert chosen(other, IMAGES).layout == "contiguous"
    assert chosen(Spy(lambda x: True), IMAGES) == Plan()


def test_a_large_network_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    spy = Spy()
    clock(monkeypatch, lambda room: 1.01 * planning.SECONDS * planning.PROBE_INPUTS / planning.PROBED)
    monkeypatch.setattr(planning, "_equal", lambda *_: pytest.fail("compared"))
    assert chosen(spy, IMAGES) == Plan("loop", "channels_last", "float32", lanes(CPU))


def test_what_does_not_fit_into_the_memory_runs_alone() -> None:
    megabyte = nn.Linear(500, 500)
    gigabyte = megabyte.weight.nbytes * 1.01e-9
    rows = (torch.rand(4, 500),)
    assert chosen(megabyte, rows, EvaluationSettings(memory=2 * gigabyte)).children == 1
    assert chosen(megabyte, rows, EvaluationSettings(memory=1e-9)) == Plan()


class Odd(nn.Module):
    """Ends with an operation that vmap can only repeat for each child, or with one that bfloat16 lacks."""

    def __init__(self, last: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.weight, self.last = nn.Parameter(torch.linspace(-1, 1, 256), requires_grad=False), last

    def forward(self, x: Tensor) -> Tensor:
        y = x * self.weight
        return y + 0 * self.last(y)


def test_nothing_is_heard_of_plans_that_are_only_tried(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor afterwards of one that is chosen: vmap, the quickest by this clock, would warn in every pass."""
    clock(monkeypatch, lambda room: 1e-4 if isinstance(room, Stack) else 2e-4)
    rows = (torch.rand(4, 256),)
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        assert chosen(Odd(torch.abs), rows).batching == "vmap"
        assert chosen(Odd(lambda y: torch.histc(y, 10, 0, 1)), rows).batching == "loop"
    assert heard == []
    traced = torch.fx.symbolic_trace(Odd(lambda y: torch.fft.fft(y).abs()))
    assert chosen(traced, rows, EvaluationSettings(precision="bfloat16")) == Plan(precision="bfloat16")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("room", "expected"), [(1000, 64), (20, 16), (1, None)])
def test_on_a_gpu_linear_tails_are_mapped_as_many_as_there_is_room_for(
    room: int, expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[int]()

    def make(plan: Plan) -> Runner:
        asked.append(plan.children)
        if plan.children > room:
            raise RuntimeError("CUDA out of memory")
        return planning.make_runner(tail, ["weight"], plan, CPU)

    tail, batches = nn.Linear(256, 10), Batches((torch.randn(4, 256),), {5})
    plan = planning._mapped(make, tail, batches, 64, SETTINGS)
    assert plan == (Plan("vmap", children=expected) if expected else None)
    assert asked == [n for n in (64, 32, 16, 8, 4, 2) if n >= (expected or 0)]
    assert planning._mapped(make, LeNet(10), batches, 64, SETTINGS) is None  # its convolutions are not
