"""What a child is like by itself: against the definitions, by hand and by SciPy."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.stats import entropy

from evoens.diversity.behaviour import behaviours
from evoens.diversity.measures import MEASURES
from evoens.diversity.outputs import balance, confidence


def one_hot(*answers: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(answers), 3).float()


def test_confidence_is_the_mean_of_the_highest_probability() -> None:
    p = torch.tensor([[[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]], [[1.0, 0.0, 0.0], [0.25, 0.25, 0.5]]])
    assert confidence(p).tolist() == pytest.approx([0.65, 0.75])


def test_balance_is_the_evenness_of_the_answers() -> None:
    p = torch.stack([one_hot(0, 0, 0, 0, 0, 0), one_hot(0, 1, 2, 2, 1, 0), one_hot(0, 0, 0, 1, 1, 2)])
    assert balance(p).tolist() == pytest.approx([0, 1, entropy([3, 2, 1]) / math.log(3)])


def test_every_measure_of_diversity_is_a_distance_to_the_parent_and_all_have_words() -> None:
    found = behaviours()
    assert list(found) == [*MEASURES, "confidence", "balance"]
    assert [own.name for own in found.values() if own.function is None] == list(MEASURES)
    assert all(own.title and own.unit for own in found.values())
    p = torch.full((2, 4, 3), 1 / 3)
    assert found["confidence"].of(p).tolist() == pytest.approx([1 / 3, 1 / 3])
    assert found["balance"].of(p).tolist() == [0, 0]
