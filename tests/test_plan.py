"""Plans: every way of running children gives the same children, and the quickest is found by measuring."""

from __future__ import annotations

import time
from typing import Any

import pytest
import torch
from evoens_strategies.noisy import Noisy
from torch import Tensor, nn

from evoens import plan as plans
from evoens.cut import cut
from evoens.errors import CheckpointError
from evoens.genome import Gene, Genome
from evoens.parent import Architecture, Parent
from evoens.plan import Layout, Loop, Plan, Stack, candidates, quickest
from evoens.strategy import grow
from evoens.tasks.networks import fused
from evoens.tasks.networks.impala import ImpalaPolicy
from evoens.threads import lanes

CPU = torch.device("cpu")
FRAMES = torch.randint(0, 256, (5, 6, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def policy() -> Parent:
    torch.manual_seed(0)
    return Parent(ImpalaPolicy((4, 4, 4), 6), Architecture("evoens.tasks.networks.impala:ImpalaPolicy"))


def children(parent: Parent, n: int) -> list[dict[str, Tensor]]:
    return [grow(parent, Noisy(sigma=0.1), Genome((Gene(seed, 0.1),))) for seed in range(n)]


@pytest.mark.parametrize("plan", candidates(image=True), ids=lambda p: f"{p.batching}-{p.layout}-{p.precision}")
def test_every_plan_computes_the_child(plan: Plan) -> None:
    parent = policy()
    room = plans.scratch(parent.module, parent.perturbed, plan, CPU)
    for weights in children(parent, 3):
        room.load(plan.children - 1, weights)
        outputs = room.predict({plan.children - 1: FRAMES})[plan.children - 1]
        expected = parent.child(weights).predict(FRAMES)
        assert outputs.dtype == torch.float32
        tolerance = 1e-5 if plan.precision == "float32" else 4e-2
        torch.testing.assert_close(outputs, expected, rtol=0, atol=tolerance)


def test_a_childs_bits_do_not_depend_on_who_shares_its_pass() -> None:
    parent = policy()
    ours, *others = children(parent, 4)
    alone = Stack(parent.module, parent.perturbed, Plan("vmap", children=4), CPU)
    alone.load(0, ours)
    expected = alone.predict({0: FRAMES})[0]
    crowd = Stack(parent.module, parent.perturbed, Plan("vmap", children=4), CPU)
    for place, weights in enumerate((*others, ours)):
        crowd.load(place, weights)
    answers = crowd.predict({0: FRAMES[:2], 1: FRAMES[:1], 2: FRAMES[1:], 3: FRAMES})
    assert torch.equal(answers[3], expected)
    assert [len(answers[place]) for place in range(4)] == [2, 1, 4, 5]
    for place, frames in enumerate((FRAMES[:2], FRAMES[:1], FRAMES[1:])):
        torch.testing.assert_close(answers[place], parent.child(others[place]).predict(frames), rtol=0, atol=1e-5)


@pytest.mark.parametrize("plan", [Plan(children=4), Plan("vmap", children=4)], ids=["loop", "vmap"])
def test_a_tail_takes_features_that_serve_all_children(plan: Plan) -> None:
    parent = policy()
    found = cut(parent.module, ["head.weight"])
    assert found is not None
    with torch.inference_mode():
        features = found.trunk(FRAMES)
    own = [{"head.weight": weights["head.weight"]} for weights in children(parent, 4)]
    room = plans.scratch(found.tail, ["head.weight"], plan, CPU)
    for place, weights in enumerate(own):
        room.load(place, weights)
    answers = room.predict(dict.fromkeys(range(4), features))
    fewer = room.predict(dict.fromkeys((1, 3), features))
    assert set(answers) == set(range(4)) and set(fewer) == {1, 3}
    for place, weights in enumerate(own):
        torch.testing.assert_close(answers[place], parent.child(weights).predict(FRAMES), rtol=0, atol=1e-6)
    assert all(torch.equal(fewer[place], answers[place]) for place in fewer)


def test_the_quickest_plan_for_a_tail_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "SECONDS", 0.05)
    spy = Spy((torch.contiguous_format, torch.bfloat16))
    found = quickest(spy, ["conv.weight"], (torch.rand(10, 3, 8, 8),), CPU)
    assert found == Plan("loop", "contiguous", "bfloat16", children=found.children)


def test_the_parent_is_left_as_it_is() -> None:
    parent = policy()
    before = parent.fingerprint
    for plan in candidates(image=True):
        plans.scratch(parent.module, parent.perturbed, plan, CPU).load(0, children(parent, 1)[0])
    assert parent.fingerprint == before
    assert all(p.dtype == torch.float32 and p.is_contiguous() for p in parent.module.parameters())


class Spy(nn.Module):
    """Slow unless images come in one layout and precision; refuses what it is told to."""

    def __init__(self, quick: tuple[torch.memory_format, torch.dtype], refused: tuple[torch.dtype, ...] = ()) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.quick, self.refused = quick, refused

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype in self.refused:
            raise RuntimeError("not in this precision")
        layout, dtype = self.quick
        if not (x.is_contiguous(memory_format=layout) and x.dtype == dtype == self.conv.weight.dtype):
            time.sleep(0.03)
        y: Tensor = self.conv(x).flatten(1)[:, :4]
        if y.isnan().any():  # a branch on data: vmap cannot
            raise ValueError
        return y


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_quickest_plan_is_found(layout: Any, precision: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "SECONDS", 0.05)
    spy = Spy((plans.FORMATS[layout], plans.DTYPES[precision]))
    found = quickest(spy, ["conv.weight"], torch.rand(10, 3, 8, 8), CPU)
    assert found == Plan("loop", layout, precision, children=found.children)
    assert found.children in (1, lanes(CPU))


def test_a_plan_that_raises_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plans, "SECONDS", 0.05)
    picky = Spy((torch.contiguous_format, torch.bfloat16), refused=(torch.bfloat16,))
    assert quickest(picky, ["conv.weight"], torch.rand(4, 3, 8, 8), CPU).precision == "float32"
    hopeless = Spy((torch.contiguous_format, torch.float32), refused=(torch.float32, torch.bfloat16))
    assert quickest(hopeless, ["conv.weight"], torch.rand(4, 3, 8, 8), CPU) == Plan()


def test_a_plan_survives_json_and_a_wrong_one_is_refused() -> None:
    for plan in candidates(image=True):
        assert Plan.from_json(plan.to_json()) == plan
    good = Plan().to_json()
    for key, wrong in (("batching", "ray"), ("layout", "nhwc"), ("precision", "float16"), ("children", 0), ("x", 1)):
        with pytest.raises(CheckpointError, match="plan"):
            Plan.from_json({**good, key: wrong})


def test_a_loop_runs_on_bytes_and_floats_alike() -> None:
    parent = policy()
    room = Loop(parent.module, Plan(layout="channels_last", precision="bfloat16"), CPU)
    assert torch.equal(room.predict({0: FRAMES})[0], room.predict({0: FRAMES.float()})[0])


@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
def test_a_loop_fuses_in_channels_last_and_takes_up_each_childs_weights(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    plain_relu = fused.Convolution.relu
    monkeypatch.setattr(fused.Convolution, "relu", lambda self, x: (calls.append(x), plain_relu(self, x))[1])
    parent = policy()
    room = Loop(parent.module, Plan(layout=layout), CPU)
    for weights in children(parent, 2):
        calls.clear()
        room.load(0, weights)
        found = room.predict({0: FRAMES})[0]
        assert len(calls) == 6 * (layout == "channels_last" and fused.available(torch.float32))
        torch.testing.assert_close(found, parent.child(weights).predict(FRAMES), rtol=0, atol=1e-6)
