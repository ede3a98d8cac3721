"""Combine rules against their definitions, case by case, and what each of them must keep."""

from __future__ import annotations

import math
from collections import Counter
from statistics import median

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, gmean
from torch import Tensor

from evoens.errors import ShapeError, SpecError
from evoens.scoring.combine import RULES, combine, geometric_mean, logit_mean, majority_vote, mean, weighted
from evoens.scoring.combine import median as class_median


def outputs(seed: int, k: int = 5, n: int = 60, c: int = 4, dtype: torch.dtype = torch.float32) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return (2 * torch.randn(k, n, c, generator=rng)).to(dtype).softmax(-1)


def votes_for(*classes: int, sure: float = 0.6, c: int = 4) -> Tensor:
    """One case `(k, 1, c)` in which member i votes for `classes[i]`."""
    rows = torch.full((len(classes), 1, c), (1 - sure) / (c - 1))
    for i, own in enumerate(classes):
        rows[i, 0, own] = sure
    return rows


def by_rule(p: Tensor, rule: str, seed: int = 0) -> Tensor:
    return combine(p, rule, [1.0 + i for i in range(len(p))] if rule == "weighted" else None, seed)


def test_mean_is_the_default_and_keeps_every_bit_of_the_plain_mean() -> None:
    p = outputs(0)
    assert torch.equal(combine(p), p.mean(dim=0)) and torch.equal(mean(p), p.mean(dim=0))


def test_weighted_by_hand_and_whatever_the_weights_sum_to() -> None:
    p = torch.tensor([[[0.5, 0.5]], [[0.25, 0.75]], [[1.0, 0.0]]])
    assert combine(p, "weighted", [2, 1, 1])[0].tolist() == [0.5625, 0.4375]
    assert torch.equal(weighted(p, torch.tensor([4.0, 2.0, 2.0])), weighted(p, [2, 1, 1]))
    assert torch.equal(weighted(p, [0, 3, 0]), p[1])
    assert torch.allclose(weighted(p, [5, 5, 5]), mean(p))


def test_logit_mean_is_the_softmax_of_the_mean_logits() -> None:
    rng = torch.Generator().manual_seed(1)
    logits = 3 * torch.randn(6, 50, 7, generator=rng, dtype=torch.float64) + 10 * torch.randn(6, 50, 1, generator=rng)
    assert torch.allclose(logit_mean(logits.softmax(-1)), logits.mean(dim=0).softmax(-1), rtol=1e-11, atol=0)


def test_logit_mean_is_the_geometric_mean_brought_back_to_sum_one() -> None:
    p = outputs(2, dtype=torch.float64)
    expected = torch.from_numpy(gmean(p.numpy(), axis=0))
    assert torch.allclose(geometric_mean(p), expected / expected.sum(-1, keepdim=True), rtol=1e-12, atol=0)
    assert RULES["logit-mean"] is RULES["geometric-mean"]


def test_logit_mean_of_members_sure_of_different_classes_is_a_distribution() -> None:
    p = torch.eye(3)[:, None, :]  # every class is ruled out by some member
    assert logit_mean(p)[0].tolist() == pytest.approx([1 / 3] * 3)


def test_median_by_hand() -> None:
    # class medians .5, .2, .2 of three; with the fourth, the means of the two in the middle: .35, .2, .25
    p = torch.tensor([[[0.5, 0.3, 0.2]], [[0.7, 0.1, 0.2]], [[0.2, 0.2, 0.6]], [[0.1, 0.6, 0.3]]], dtype=torch.float64)
    assert class_median(p[:3])[0].tolist() == pytest.approx([5 / 9, 2 / 9, 2 / 9])
    plain = [median(p[:, 0, j].tolist()) for j in range(3)]
    assert class_median(p)[0].tolist() == pytest.approx([m / sum(plain) for m in plain])


def test_median_of_members_sure_of_different_classes_is_their_mean() -> None:
    p = torch.eye(3)[:, None, :].repeat(1, 2, 1)
    p[:, 1] = torch.tensor([1.0, 0.0, 0.0])
    assert class_median(p)[0].tolist() == pytest.approx([1 / 3] * 3)
    assert class_median(p)[1].tolist() == [1.0, 0.0, 0.0]


def test_votes_are_shares_and_no_tie_is_left_untouched() -> None:
    p = torch.cat([votes_for(2, 2, 1, 0), votes_for(3, 3, 3, 3)], dim=1)
    assert majority_vote(p).tolist() == [[0.25, 0.25, 0.5, 0.0], [0.0, 0.0, 0.0, 1.0]]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_drawn_class_wins_by_the_least(dtype: torch.dtype) -> None:
    for k in (2, 3, 6, 7, 9):
        p = torch.cat([votes_for(*(i % 3 for i in range(k)), sure=0.6 + 0.001 * j) for j in range(40)], dim=1).to(dtype)
        shares = majority_vote(p)
        tied = Counter(i % 3 for i in range(k))
        most = max(tied.values())
        assert shares.dtype == dtype
        assert set(shares.argmax(-1).tolist()) <= {own for own, n in tied.items() if n == most}
        exact = torch.tensor([tied[j] / k for j in range(4)], dtype=torch.float64)
        assert (shares.double() - exact).abs().max() <= 2 * torch.finfo(dtype).eps * most / k
        if list(tied.values()).count(most) > 1:
            assert (shares.sort(-1).values[:, -1] > shares.sort(-1).values[:, -2]).all()


def test_ties_are_drawn_evenly_and_anew_with_another_seed() -> None:
    p = outputs(3, k=2, n=4000, c=4)
    first, second = p.argmax(-1)
    tied = first != second
    draws = [majority_vote(p, seed).argmax(-1) for seed in range(3)]
    for winner in draws:
        assert ((winner == first) | (winner == second)).all()
        lower = int((winner == torch.minimum(first, second))[tied].sum())
        assert binomtest(lower, int(tied.sum())).pvalue > 1e-4
        for pair in ((0, 1), (2, 3), (3, 0)):  # nor by the classes or by which member voted
            own = tied & (first == pair[0]) & (second == pair[1])
            assert binomtest(int((winner == first)[own].sum()), int(own.sum())).pvalue > 1e-4
    assert 0.4 < float((draws[0] == draws[1])[tied].double().mean()) < 0.6
    assert torch.equal(majority_vote(p, 1), majority_vote(p.clone(), 1))


def test_a_tie_does_not_depend_on_the_batch_the_order_of_members_or_rounding() -> None:
    p = outputs(4, k=4, n=300, c=3)
    whole = majority_vote(p, 5)
    assert torch.equal(torch.cat([majority_vote(part, 5) for part in p.split(7, dim=1)]), whole)
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    assert torch.equal(majority_vote(p[:, order], 5), whole[order])
    assert torch.equal(majority_vote(p.flip(0), 5), whole)
    noise = 1e-7 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    assert (majority_vote(p * (1 + noise), 5).argmax(-1) == whole.argmax(-1)).double().mean() > 0.99


def test_a_draw_is_pinned() -> None:
    p = torch.cat([votes_for(0, 1, sure=0.5 + 0.01 * j) for j in range(12)], dim=1)
    assert majority_vote(p, 7).argmax(-1).tolist() == [0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0]


@given(st.integers(0, 10_000), st.integers(1, 9), st.integers(2, 6), st.sampled_from(sorted(RULES)))
@settings(deadline=None, max_examples=150)
def test_every_rule_gives_probabilities_and_agrees_with_the_unanimous(seed: int, k: int, c: int, rule: str) -> None:
    p = outputs(seed, k, 12, c)
    together = by_rule(p, rule, seed)
    assert together.shape == (12, c) and together.dtype == p.dtype
    assert (together >= 0).all() and torch.allclose(together.sum(-1), torch.ones(12), atol=1e-5)
    parts = torch.cat([by_rule(part, rule, seed) for part in p.split(5, dim=1)])
    assert torch.allclose(parts, together, atol=1e-6) and torch.equal(parts.argmax(-1), together.argmax(-1))
    same = p[:1].expand(k, -1, -1)
    agreed = by_rule(same, rule, seed)
    assert (agreed.argmax(-1) == p[0].argmax(-1)).all()
    if rule != "majority-vote":
        assert torch.allclose(agreed, p[0], atol=1e-6)


@pytest.mark.parametrize("rule", sorted(set(RULES) - {"weighted"}))
def test_no_other_rule_asks_in_which_order_members_stand(rule: str) -> None:
    p = outputs(5, dtype=torch.float64)
    assert torch.allclose(combine(p.flip(0), rule), combine(p, rule), rtol=1e-12)


def test_weights_equal_members_that_stand_more_than_once() -> None:
    p = outputs(6, k=3, dtype=torch.float64)
    assert torch.allclose(combine(p, "weighted", [3, 1, 2]), combine(p[[0, 0, 0, 1, 2, 2]]), rtol=1e-12)


def test_other_names_shapes_and_weights_are_refused() -> None:
    p = outputs(7)
    with pytest.raises(SpecError, match=r'found "majority_votes"; did you mean "majority-vote"\?'):
        combine(p, "majority_votes")
    with pytest.raises(SpecError, match='with the rule "weighted" alone'):
        combine(p, "weighted")
    with pytest.raises(SpecError, match='with the rule "weighted" alone'):
        combine(p, "mean", [1.0] * 5)
    with pytest.raises(ShapeError, match=r"expected shape \(5,\), one a member, found \(4,\)"):
        combine(p, "weighted", [1.0] * 4)
    for wrong in ([1, 1, 1, 1, -1], [0] * 5, [1, 1, 1, 1, math.nan], [1, 1, 1, 1, math.inf]):
        with pytest.raises(SpecError, match="numbers ≥ 0, not all 0"):
            combine(p, "weighted", wrong)
    for rule in RULES:
        for wrong_shape in (p[0], p[:0]):
            with pytest.raises(ShapeError, match=r"expected shape \(k, n, c\), k ≥ 1"):
                by_rule(wrong_shape, rule)
