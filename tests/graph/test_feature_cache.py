"""What is kept of a trunk's work: equal inputs get the same features, and nothing else does."""

from __future__ import annotations

import torch
from torch import Tensor

from evoens.graph.cut import Features
from evoens.graph.feature_cache import Kept

INPUTS = torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(0))
SIZE = 4 * 2 * 4  # bytes of the features of four inputs


class Trunk:
    """Two numbers an input; counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def __call__(self, inputs: Tensor) -> Features:
        self.asked += 1
        return (inputs.flatten(1)[:, :2].contiguous(),)


def test_equal_inputs_are_asked_about_once() -> None:
    kept, trunk = Kept(2 * SIZE), Trunk()
    for some in (INPUTS[:4], INPUTS[:4].clone(), INPUTS[:4].contiguous(memory_format=torch.channels_last)):
        assert torch.equal(kept.get("a", some, lambda some=some: trunk(some))[0], INPUTS[:4].flatten(1)[:, :2])
    assert trunk.asked == 1
    for kind, others in (("b", INPUTS[:4]), ("a", INPUTS[:4].double()), ("a", INPUTS[:4].view(4, 48))):
        before = trunk.asked
        kept.get(kind, others, lambda others=others: trunk(others))
        assert trunk.asked == before + 1


def test_rows_are_found_only_once_it_is_closed() -> None:
    kept, trunk = Kept(2 * SIZE), Trunk()
    for some in (INPUTS[:4], INPUTS[4:]):
        kept.get("a", some, lambda some=some: trunk(some))
    kept.get("a", INPUTS[3:6], lambda: trunk(INPUTS[3:6]))
    assert trunk.asked == 3
    kept.close()
    (found,) = kept.get("a", INPUTS[[6, 3]], lambda: trunk(INPUTS))
    assert trunk.asked == 3 and torch.equal(found, INPUTS[[6, 3]].flatten(1)[:, :2])
    stranger = INPUTS[[6, 3]] + 1
    assert torch.equal(kept.get("a", stranger, lambda: trunk(stranger))[0], stranger.flatten(1)[:, :2])


def test_what_does_not_fit_is_computed_again_and_nothing_after_it_is_kept() -> None:
    kept, trunk = Kept(SIZE), Trunk()
    for _ in range(2):
        for some in (INPUTS[:4], INPUTS[4:], INPUTS[4:5]):
            kept.get("a", some, lambda some=some: trunk(some))
    assert kept.full and trunk.asked == 1 + 2 + 2
    kept.clear()
    assert not kept.full
    kept.get("a", INPUTS[4:], lambda: trunk(INPUTS[4:]))
    kept.get("a", INPUTS[4:], lambda: trunk(INPUTS[4:]))
    assert trunk.asked == 6


def test_without_room_nothing_is_looked_at() -> None:
    kept, trunk = Kept(), Trunk()
    assert kept.full
    for _ in range(2):
        kept.get("a", INPUTS, lambda: trunk(INPUTS))
    assert trunk.asked == 2
