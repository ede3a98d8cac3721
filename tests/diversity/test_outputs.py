from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.metrics.pairwise import cosine_similarity
from torch import Tensor

from evoens.diversity import outputs as module
from evoens.diversity.outputs import (
    off_diagonal_mean,
    pairwise_correlation,
    pairwise_cosine,
    pairwise_disagreement,
    pairwise_kl,
)
from evoens.errors import ShapeError

Measure = Callable[[Tensor, Tensor], Tensor]
MEASURES = [pairwise_kl, pairwise_disagreement, pairwise_correlation, pairwise_cosine]


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


def test_correlation_is_numpy_s_averaged_over_cases() -> None:
    p, q = outputs(seed=1), outputs(seed=2)
    expected = [[np.mean([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]) for b in q] for a in p]
    assert pairwise_correlation(p, q).numpy() == pytest.approx(np.array(expected), abs=1e-6)


def test_where_all_classes_are_equally_likely_there_is_no_correlation() -> None:
    p = torch.tensor([[[0.25] * 4, [0.4, 0.3, 0.2, 0.1]], [[0.7, 0.1, 0.1, 0.1], [0.1, 0.2, 0.3, 0.4]]])
    assert pairwise_correlation(p, p).tolist() == [pytest.approx([0.5, -0.5]), pytest.approx([-0.5, 1.0])]


def test_cosine_is_scikit_learn_s_averaged_over_cases() -> None:
    p, q = outputs(seed=1), outputs(seed=2)
    expected = [[np.mean([cosine_similarity([x], [y]) for x, y in zip(a, b, strict=True)]) for b in q] for a in p]
    assert pairwise_cosine(p, q).numpy() == pytest.approx(np.array(expected), abs=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_cases_may_be_looked_at_in_blocks(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    p, q = outputs(n=7, seed=1), outputs(n=7, seed=2)
    whole = measure(p, q)
    monkeypatch.setattr(module, "BLOCK", 2 * 4 * 5)
    assert torch.allclose(measure(p, q), whole, atol=1e-12)


@pytest.mark.parametrize("measure", MEASURES)
def test_the_order_of_members_changes_nothing_and_equals_are_not_apart(measure: Measure) -> None:
    p, order = outputs(), torch.tensor([2, 0, 3, 1])
    distances = measure(p, p)
    assert torch.allclose(measure(p[order], p[order]), distances[order][:, order], atol=1e-12)
    alike = 0.0 if measure in (pairwise_kl, pairwise_disagreement) else 1.0
    assert torch.allclose(distances.diagonal(), torch.full((4,), alike, dtype=torch.float64), atol=1e-9)
    if measure is not pairwise_kl:
        assert torch.allclose(distances, distances.T, atol=1e-12)


def test_a_pair_needs_two_members() -> None:
    with pytest.raises(ShapeError, match="at least 2 members, found 1"):
        off_diagonal_mean(torch.zeros(1, 1))


@pytest.mark.parametrize("measure", MEASURES)
def test_shapes_must_agree(measure: Measure) -> None:
    with pytest.raises(ShapeError, match=r"\(4, 6, 5\) and \(4, 7, 5\)"):
        measure(outputs(), outputs(n=7))
