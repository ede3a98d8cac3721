from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import Tensor

from evoens.diversity.spread import decompose, equitability
from evoens.errors import ShapeError


def outputs(k: int = 5, n: int = 30, c: int = 4) -> Tensor:
    return torch.softmax(2 * torch.randn(k, n, c, generator=torch.Generator().manual_seed(0)), -1)


def labels(n: int = 30, c: int = 4) -> Tensor:
    return torch.randint(c, (n,), generator=torch.Generator().manual_seed(1))


def test_equitability_is_the_entropy_of_votes_over_its_greatest() -> None:
    votes = outputs().argmax(-1).numpy()
    expected = [entropy(np.bincount(case, minlength=4)) / np.log(4) for case in votes.T]
    assert equitability(outputs()).numpy() == pytest.approx(np.array(expected))


def test_equitability_by_hand() -> None:
    one_hot = torch.eye(2)
    split, agreed = one_hot[[0, 1]], one_hot[[0, 0]]  # two members, two classes
    assert equitability(torch.stack([split, agreed], 1)).tolist() == [pytest.approx(1.0), 0.0]


def test_equitability_whatever_the_order_of_members() -> None:
    order = torch.tensor([4, 1, 0, 3, 2])
    assert torch.allclose(equitability(outputs()[order]), equitability(outputs()))


def test_the_parts_are_numpy_s_covariances_and_add_up_to_the_brier_score() -> None:
    p, y = outputs().double().numpy(), labels().numpy()
    errors = p - np.eye(4)[y]
    k, found = len(p), decompose(outputs(), labels())
    joint = sum(np.cov(errors[:, :, c], bias=True) for c in range(4))
    assert found.variance == pytest.approx(np.trace(joint) / k)
    assert found.covariance == pytest.approx((joint.sum() - np.trace(joint)) / (k * (k - 1)))
    assert found.squared_bias == pytest.approx((errors.mean((0, 1)) ** 2).sum())
    assert found.error == pytest.approx((errors.mean(0) ** 2).sum(-1).mean())
    whole = found.squared_bias + found.variance / k + (1 - 1 / k) * found.covariance
    assert whole == pytest.approx(found.error, abs=1e-12)


def test_a_lone_member_covaries_with_nobody() -> None:
    found = decompose(outputs(k=1), labels())
    assert found.covariance == 0 and found.squared_bias + found.variance == pytest.approx(found.error)


def test_equal_members_covary_as_much_as_they_vary() -> None:
    found = decompose(outputs(k=1).expand(3, -1, -1), labels())
    assert found.covariance == pytest.approx(found.variance)


def test_wrong_shapes() -> None:
    with pytest.raises(ShapeError, match=r"expected \(k, n, c\), c ≥ 2, found \(3, 4\)"):
        equitability(torch.ones(3, 4))
    with pytest.raises(ShapeError, match=r"labels: expected \(30,\)"):
        decompose(outputs(), labels(29))
