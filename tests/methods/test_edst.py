"""EDST: how a training is shared out among members, its learning rate, and where it leaves a basin."""

from __future__ import annotations

import pytest

from evoens.errors import SpecError
from evoens.methods.edst import Phases
from evoens.settings.classification import TrainSettings


def test_the_published_training_is_shared_out_as_published() -> None:
    """850 epochs: 150 to explore, then 7 members of 100 each (spec: WRN-28-10)."""
    phases = Phases.of(850, 7)
    assert (phases.exploration, phases.refinement) == (150, 100)
    assert phases.ends == [250, 350, 450, 550, 650, 750, 850]


@pytest.mark.parametrize(("epochs", "members"), [(16, 7), (16, 4), (5, 3), (9, 7), (200, 8)])
def test_every_epoch_is_somebodys(epochs: int, members: int) -> None:
    phases = Phases.of(epochs, members)
    assert phases.exploration + members * phases.refinement == epochs == phases.epochs == phases.ends[-1]
    assert phases.exploration >= phases.refinement >= 1 and len(phases.ends) == members


def test_too_few_epochs_are_refused() -> None:
    with pytest.raises(SpecError, match=r"members: expected a budget of 9 epochs or more for 7, found 8"):
        Phases.of(8, 7)


def test_the_rate_is_high_then_low_and_lower_for_every_member() -> None:
    phases, settings = Phases.of(11, 3), TrainSettings(learning_rate=0.1, epochs=11)
    assert (phases.exploration, phases.refinement) == (5, 2)
    rates = [phases.rate(settings, step, 110) for step in range(110)]
    expected = [0.1] * 50 + ([0.01] * 10 + [0.001] * 10) * 3
    assert rates == pytest.approx(expected)


def test_most_weights_change_between_two_members_and_only_there() -> None:
    updates = Phases.of(11, 3).updates(110, 7)
    shares = [updates.share(step) for step in range(110)]
    assert [step for step, share in enumerate(shares) if share == 0.8] == [70, 90]
    assert max(share for share in shares if share != 0.8) <= 0.5
    assert shares[49] < 0.02  # it has fallen by the end of a phase,
    assert shares[56] > 0.3  # and begins anew
    assert [step for step in range(70) if shares[step]] == [7, 14, 21, 28, 35, 42, 49, 56, 63]
