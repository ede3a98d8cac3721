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


def asked(kept: Kept, kind: str, inputs: Tensor, trunk: Trunk) -> Features:
    return kept.features(kind, kept.rows(inputs), lambda: trunk(inputs))


def test_equal_inputs_are_asked_about_once() -> None:
    kept, trunk = Kept(2 * SIZE), Trunk()
    for some in (INPUTS[:4], INPUTS[:4].clone(), INPUTS[:4].contiguous(memory_format=torch.channels_last)):
        assert torch.equal(asked(kept, "a", some, trunk)[0], INPUTS[:4].flatten(1)[:, :2])
    assert trunk.asked == 1
    for kind, others in (("b", INPUTS[:4]), ("a", INPUTS[:4].double()), ("a", INPUTS[:4].view(4, 48))):
        before = trunk.asked
        asked(kept, kind, others, trunk)
        assert trunk.asked == before + 1


def test_rows_are_found_only_once_it_is_closed() -> None:
    kept, trunk = Kept(2 * SIZE), Trunk()
    for some in (INPUTS[:4], INPUTS[4:]):
        asked(kept, "a", some, trunk)
    asked(kept, "a", INPUTS[3:6], trunk)
    assert trunk.asked == 3
    kept.close()
    (found,) = asked(kept, "a", INPUTS[[6, 3]], trunk)
    assert trunk.asked == 3 and torch.equal(found, INPUTS[[6, 3]].flatten(1)[:, :2])
    stranger = INPUTS[[6, 3]] + 1
    assert torch.equal(asked(kept, "a", stranger, trunk)[0], stranger.flatten(1)[:, :2])


def test_what_does_not_fit_is_computed_again_and_nothing_after_it_is_kept() -> None:
    kept, trunk = Kept(SIZE), Trunk()
    for _ in range(2):
        for some in (INPUTS[:4], INPUTS[4:], INPUTS[4:5]):
            asked(kept, "a", some, trunk)
    assert kept.full and trunk.asked == 1 + 2 + 2
    kept.clear()
    assert not kept.full
    asked(kept, "a", INPUTS[4:], trunk)
    asked(kept, "a", INPUTS[4:], trunk)
    assert trunk.asked == 6


def test_without_room_nothing_is_looked_at() -> None:
    kept, trunk = Kept(), Trunk()
    assert kept.full
    for _ in range(2):
        asked(kept, "a", INPUTS, trunk)
    assert trunk.asked == 2


def test_answers_are_those_of_the_same_network_to_the_very_batch() -> None:
    kept, trunk = Kept(4 * SIZE), Trunk()

    def answers(who: str, inputs: Tensor) -> Tensor:
        return kept.answers(who, kept.rows(inputs), lambda: trunk(inputs)[0])

    for times in (1, 2):  # none is kept
        answers("a", INPUTS[:4])
        assert trunk.asked == times
    trunk.asked = 0
    kept.close()
    for who, inputs, times in (("a", INPUTS[:4], 1), ("a", INPUTS[:4].clone(), 1), ("b", INPUTS[:4], 2)):
        assert torch.equal(answers(who, inputs), INPUTS[:4].flatten(1)[:, :2]) and trunk.asked == times
    answers("a", INPUTS[:3])
    answers("a", INPUTS[[1, 0, 2, 3]])
    assert trunk.asked == 4
