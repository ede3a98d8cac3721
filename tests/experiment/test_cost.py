"""What an ensemble costs to ask and to keep, counted by hand."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest
import torch
from tiny import CLASSES, FEATURES, tiny_parent

from evoens.children import TunedWeights, initial_weights
from evoens.ensemble import Ensemble
from evoens.experiment.cost import ensemble_flops, shrunk_flops, stored_weights
from evoens.plugins.spec import load_class, locate
from evoens.strategy import Strategy

HIDDEN = 16
FIRST, LAST = 2 * FEATURES * HIDDEN, 2 * HIDDEN * CLASSES  # two operations for each multiply-add
WEIGHTS = FEATURES * HIDDEN + HIDDEN + HIDDEN * CLASSES + CLASSES


def strategy(scope: tuple[str, ...] = ()) -> Strategy:
    made: Strategy = load_class(locate("noisy"), Strategy)(sigma=0.1)
    made = made.within(scope=scope)
    return made


@pytest.mark.parametrize(("scope", "expected"), [((), 3 * (FIRST + LAST)), (("last",), FIRST + 3 * LAST)])
def test_what_members_share_counts_once(scope: tuple[str, ...], expected: int) -> None:
    noisy = strategy(scope)
    members = noisy.ask(3, Random(0))
    ensemble = Ensemble(tiny_parent(), noisy, [*members, members[0]])  # one counts twice, and is computed once
    assert ensemble_flops(ensemble, (FEATURES,)) == expected


def test_an_ensemble_that_is_rebuilt_keeps_no_more_than_its_parent() -> None:
    noisy = strategy()
    assert stored_weights(Ensemble(tiny_parent(), noisy, noisy.ask(4, Random(0)))) == WEIGHTS


def test_tuned_members_keep_what_is_not_zero(tmp_path: Path) -> None:
    noisy, parent = strategy(), tiny_parent()
    members = noisy.ask(2, Random(0))
    for genome in members:
        weights = {**parent.weights, **initial_weights(parent, noisy, genome)}
        weights["first.weight"] = weights["first.weight"].clone()
        weights["first.weight"][:4] = 0
        TunedWeights(tmp_path).save(genome, weights)
    assert stored_weights(Ensemble(parent, noisy, members, tuned=TunedWeights(tmp_path))) == 2 * (
        WEIGHTS - 4 * FEATURES
    )


def test_members_without_whole_neurons_cost_less_when_they_are_shrunk(tmp_path: Path) -> None:
    noisy, parent = strategy(), tiny_parent()
    members = noisy.ask(2, Random(0))
    for genome, gone in zip(members, (4, 12), strict=True):
        weights = {**parent.weights, **initial_weights(parent, noisy, genome)}
        weights["first.weight"] = weights["first.weight"].clone()
        weights["first.weight"][:gone] = 0
        TunedWeights(tmp_path).save(genome, weights)
    assert shrunk_flops(Ensemble(parent, noisy, members), (FEATURES,)) is None
    ensemble = Ensemble(parent, noisy, [*members, members[0]], tuned=TunedWeights(tmp_path))
    assert ensemble_flops(ensemble, (FEATURES,)) == 2 * (FIRST + LAST)
    assert shrunk_flops(ensemble, (FEATURES,)) == (FIRST + LAST) * 12 // HIDDEN + (FIRST + LAST) * 4 // HIDDEN
    inputs = torch.linspace(-2, 2, 5 * FEATURES).view(5, FEATURES)
    for small, whole in zip(ensemble.modules(shrunk=True), ensemble.modules(), strict=True):
        torch.testing.assert_close(small(inputs), whole(inputs))


def test_what_cannot_be_counted_has_no_figure() -> None:
    noisy = strategy()
    assert ensemble_flops(Ensemble(tiny_parent(), noisy, noisy.ask(1, Random(0))), (FEATURES + 1,)) is None
