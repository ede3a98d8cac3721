"""Entropy and disagreement: against SciPy and hand-worked cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from evoens.scoring.uncertainty import answer, entropy, mutual_information

MEMBERS = torch.randn(5, 20, 4, generator=torch.Generator().manual_seed(0)).softmax(-1)


def test_entropy_is_scipys() -> None:
    np.testing.assert_allclose(entropy(MEMBERS), stats.entropy(MEMBERS.double(), axis=-1))


def test_one_who_is_sure_has_none_and_one_who_knows_nothing_has_ln_c() -> None:
    assert entropy(torch.tensor([0.0, 1.0, 0.0])).item() == 0
    assert entropy(torch.full((8,), 1 / 8)).item() == pytest.approx(math.log(8))


def test_members_that_are_sure_of_different_classes_disagree_by_one_bit() -> None:
    two = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert mutual_information(two).item() == pytest.approx(math.log(2))


def test_members_that_say_the_same_do_not_disagree_however_unsure() -> None:
    assert mutual_information(MEMBERS[:1].expand(3, -1, -1)).abs().max() < 1e-12


def test_it_is_the_mean_divergence_of_the_members_from_their_mean() -> None:
    mean = MEMBERS.double().mean(0)
    expected = np.mean([stats.entropy(member.double(), mean, axis=-1) for member in MEMBERS], axis=0)
    np.testing.assert_allclose(mutual_information(MEMBERS), expected, atol=1e-8)


def test_an_answer_has_all_of_it() -> None:
    members = torch.tensor([[[0.9, 0.1]], [[0.6, 0.4]], [[0.2, 0.8]]])
    found = answer(members, members.mean(0))
    assert found.vote_share.tolist() == pytest.approx([2 / 3]) and found.members is members
    assert torch.equal(found.entropy, entropy(members.mean(0)))


def test_where_nothing_is_known_nobody_agrees() -> None:
    members = torch.tensor([[[0.9, 0.1], [float("nan")] * 2]] * 2)
    share = answer(members, members.mean(0)).vote_share
    assert share[0] == 1 and share[1].isnan()
