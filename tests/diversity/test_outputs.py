from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import Tensor

from evoens.diversity.outputs import off_diagonal_mean, pairwise_disagreement, pairwise_kl
from evoens.errors import ShapeError


def outputs(k: int = 4, n: int = 6, c: int = 5, seed: int = 0) -> Tensor:
    return torch.softmax(3 * torch.randn(k, n, c, generator=torch.Generator().manual_seed(seed)), -1)


def test_pairwise_kl_agrees_with_scipy() -> None:
    p, q = outputs(seed=1), outputs(seed=2)
    expected = [[entropy(a, b, axis=-1).mean() for b in q.double().numpy()] for a in p.double().numpy()]
    assert pairwise_kl(p, q).numpy() == pytest.approx(np.array(expected), abs=1e-6)


def test_the_mean_is_over_ordered_pairs() -> None:
    p = outputs()
    pairs = itertools.permutations(p.double().numpy(), 2)
    assert off_diagonal_mean(pairwise_kl(p, p)) == pytest.approx(
        np.mean([entropy(a, b, axis=-1).mean() for a, b in pairs]), abs=1e-6
    )


def test_kl_by_hand() -> None:
    p = torch.tensor([[[0.5, 0.5]], [[0.25, 0.75]]])
    # ½ ln 2 + ½ ln ⅔ = 0.14384, ¼ ln ½ + ¾ ln 1½ = 0.13081
    assert off_diagonal_mean(pairwise_kl(p, p)) == pytest.approx((0.143841 + 0.130812) / 2, abs=1e-5)


def test_kl_of_a_zero_is_large_and_finite() -> None:
    p = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    assert off_diagonal_mean(pairwise_kl(p, p)) == pytest.approx(-np.log(torch.finfo(torch.float32).tiny))
    assert off_diagonal_mean(pairwise_kl(p[[0, 0]], p[[0, 0]])) == 0.0


def test_disagreement_by_hand() -> None:
    first = torch.eye(3)[torch.tensor([[0, 1, 2, 0], [0, 1, 2, 1], [0, 2, 0, 1]])]
    # members 1 and 2 differ in 1 case of 4, 1 and 3 in 3, 2 and 3 in 2
    assert off_diagonal_mean(pairwise_disagreement(first, first)) == pytest.approx((1 + 3 + 2) / 12)
    assert pairwise_disagreement(first, first)[0].tolist() == [0.0, 0.25, 0.75]


def test_a_pair_needs_two_members() -> None:
    with pytest.raises(ShapeError, match="at least 2 members, found 1"):
        off_diagonal_mean(torch.zeros(1, 1))


@pytest.mark.parametrize("measure", [pairwise_kl, pairwise_disagreement])
def test_shapes_must_agree(measure: object) -> None:
    with pytest.raises(ShapeError, match=r"\(4, 6, 5\) and \(4, 7, 5\)"):
        measure(outputs(), outputs(n=7))  # type: ignore[operator]
