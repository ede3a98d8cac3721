"""Plans: every way of running children gives the same children."""

from __future__ import annotations

import pytest
import torch
from evoens_strategies.noisy import Noisy
from torch import Tensor

from evoens.children import child_weights
from evoens.errors import CheckpointError
from evoens.evaluation import plan as plans
from evoens.evaluation.plan import Layout, Loop, Plan, Stack
from evoens.genome import Gene, Genome
from evoens.graph.cut import cut
from evoens.parent import Architecture, Parent
from evoens.tasks.networks import fused
from evoens.tasks.networks.impala import ImpalaPolicy

CPU = torch.device("cpu")
EVERY = [
    Plan(batching, layout, precision, children)
    for batching, layout, children in (
        ("loop", "channels_last", 1),
        ("loop", "contiguous", 1),
        ("vmap", "contiguous", 8),
    )
    for precision in ("float32", "bfloat16")
]
FRAMES = torch.randint(0, 256, (5, 6, 64, 64), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def policy() -> Parent:
    torch.manual_seed(0)
    return Parent(ImpalaPolicy((4, 4, 4), 6), Architecture("evoens.tasks.networks.impala:ImpalaPolicy"))


def children(parent: Parent, n: int) -> list[dict[str, Tensor]]:
    return [child_weights(parent, Noisy(sigma=0.1), Genome((Gene(seed, 0.1),))) for seed in range(n)]


@pytest.mark.parametrize("plan", EVERY, ids=lambda p: f"{p.batching}-{p.layout}-{p.precision}")
def test_every_plan_computes_the_child(plan: Plan) -> None:
    parent = policy()
    room = plans.make_runner(parent.module, parent.perturbed, plan, CPU)
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


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("plan", [Plan(children=4), Plan("vmap", children=4)], ids=["loop", "vmap"])
def test_a_tail_takes_features_that_serve_all_children(plan: Plan) -> None:
    parent = policy()
    found = cut(parent.module, ["head.weight"])
    assert found is not None
    with torch.inference_mode():
        features = found.trunk(FRAMES)
    own = [{"head.weight": weights["head.weight"]} for weights in children(parent, 4)]
    room = plans.make_runner(found.tail, ["head.weight"], plan, CPU)
    for place, weights in enumerate(own):
        room.load(place, weights)
    answers = room.predict(dict.fromkeys(range(4), features))
    fewer = room.predict(dict.fromkeys((1, 3), features))
    assert set(answers) == set(range(4)) and set(fewer) == {1, 3}
    for place, weights in enumerate(own):
        torch.testing.assert_close(answers[place], parent.child(weights).predict(FRAMES), rtol=0, atol=1e-6)
    assert all(torch.equal(fewer[place], answers[place]) for place in fewer)


def test_the_parent_is_left_as_it_is() -> None:
    parent = policy()
    before = parent.fingerprint
    for plan in EVERY:
        plans.make_runner(parent.module, parent.perturbed, plan, CPU).load(0, children(parent, 1)[0])
    assert parent.fingerprint == before
    assert all(p.dtype == torch.float32 and p.is_contiguous() for p in parent.module.parameters())


def test_a_plan_survives_json_and_a_wrong_one_is_refused() -> None:
    for plan in EVERY:
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
