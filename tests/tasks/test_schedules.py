"""The learning rate and the momentum over a training, by hand and beside torch's own schedulers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, OneCycleLR

from evoens.settings.classification import TrainSettings
from evoens.tasks.schedules import momentum, rate

STEPS = 40


def settings(**changes: Any) -> TrainSettings:
    return TrainSettings.model_validate({"optimiser": "sgd", "learning_rate": 0.1, **changes})


def rates_of(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int = STEPS) -> list[tuple[float, float]]:
    """The rate and the momentum that torch's scheduler gives each of the steps."""
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.1, momentum=0.9)
    scheduler, found = make(optimiser), []
    for _ in range(steps):
        found.append((optimiser.param_groups[0]["lr"], optimiser.param_groups[0]["momentum"]))
        optimiser.step()
        scheduler.step()
    return found


def test_constant_is_constant() -> None:
    assert {rate(settings(), i / STEPS) for i in range(STEPS + 1)} == {0.1}
    assert {momentum(settings(momentum=0.8), i / STEPS) for i in range(STEPS + 1)} == {0.8}


def test_steps_are_torchs() -> None:
    milestones = (0.25, 0.5, 0.75)
    own = settings(schedule="step", milestones=milestones, decay=0.2)
    expected = rates_of(lambda o: MultiStepLR(o, [int(m * STEPS) for m in milestones], 0.2))
    assert [rate(own, i / STEPS) for i in range(STEPS)] == pytest.approx([r for r, _ in expected])
    assert [rate(own, p) for p in (0.2499, 0.25, 0.5, 1)] == pytest.approx([0.1, 0.02, 0.004, 0.0008])


@pytest.mark.parametrize("steps", [10, 30, 70, 700])
def test_a_milestone_is_met_at_its_step_whatever_the_number_of_steps(steps: int) -> None:
    own = settings(schedule="step", milestones=(0.1, 0.7), decay=0.1)
    found = [rate(own, i / steps) for i in range(steps)]
    for value, tenths in ((0.1, 1), (0.01, 6), (0.001, 3)):
        assert found.count(pytest.approx(value)) == steps * tenths // 10


def test_a_line_between_two_milestones() -> None:
    own = settings(schedule="linear", milestones=(0.5, 0.9), final_rate=0.001)
    by_hand = {0: 0.1, 0.5: 0.1, 0.6: 0.07525, 0.7: 0.0505, 0.8: 0.02575, 0.9: 0.001, 0.95: 0.001, 1: 0.001}
    assert {p: rate(own, p) for p in by_hand} == pytest.approx(by_hand)


def test_a_line_of_no_length_is_a_step() -> None:
    own = settings(schedule="linear", milestones=(0.5, 0.5), final_rate=0.001)
    assert [rate(own, p) for p in (0.49, 0.5, 0.51)] == pytest.approx([0.1, 0.1, 0.001])


def test_the_cosine_is_torchs() -> None:
    own = settings(schedule="cosine", final_rate=1e-3)
    expected = rates_of(lambda o: CosineAnnealingLR(o, STEPS, 1e-3))
    assert [rate(own, i / STEPS) for i in range(STEPS)] == pytest.approx([r for r, _ in expected])
    assert rate(own, 0.5) == pytest.approx((0.1 + 1e-3) / 2) and rate(own, 1) == pytest.approx(1e-3)


def test_one_cycle_is_torchs() -> None:
    """Torch puts its last step at the end of the curve, where a training of ours has done all but one of its steps."""
    share, last = 0.3, STEPS - 1
    scheduler = rates_of(
        lambda o: OneCycleLR(
            o, 0.1, STEPS, pct_start=share, anneal_strategy="cos", div_factor=100, final_div_factor=1e4,
            base_momentum=0.85, max_momentum=0.95,
        )
    )  # fmt: skip
    own = settings(
        schedule="one-cycle", initial_rate=1e-3, final_rate=1e-7, warmup=(share * STEPS - 1) / last,
        momentum=0.95, low_momentum=0.85,
    )  # fmt: skip
    found = [(rate(own, i / last), momentum(own, i / last)) for i in range(STEPS)]
    assert [r for r, _ in found] == pytest.approx([r for r, _ in scheduler])
    assert [m for _, m in found] == pytest.approx([m for _, m in scheduler])


def test_one_cycle_by_hand() -> None:
    """The dissertation's: 0.001 → 0.1 over the first tenth, then → 1e-7, both along half a cosine."""
    own = settings(schedule="one-cycle")
    assert own.initial_rate == 1e-3 and own.final_rate == 1e-7 and own.warmup == 0.1
    for progress in (0, 0.03, 0.05, 0.0999):
        assert rate(own, progress) == pytest.approx(0.1 - 0.099 * (1 + math.cos(math.pi * progress / 0.1)) / 2)
    for progress in (0.1, 0.4, 0.55, 1):
        share = (progress - 0.1) / 0.9
        assert rate(own, progress) == pytest.approx(1e-7 + (0.1 - 1e-7) * (1 + math.cos(math.pi * share)) / 2)
    assert [momentum(own, p) for p in (0, 0.1, 1)] == pytest.approx([0.9, 0.85, 0.9])


def test_momentum_never_rises_above_what_is_asked_for() -> None:
    own = settings(schedule="one-cycle", momentum=0.5)
    assert {momentum(own, i / STEPS) for i in range(STEPS + 1)} == {0.5}
