"""Selection against exhaustive search, worked cases and simulated races."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
import torch
from torch import Tensor

from evoens.diversity.outputs import pairwise_disagreement
from evoens.experiment import selection
from evoens.problem import Split
from evoens.scoring.calibration import calibrated_nll
from evoens.scoring.combine import combine


def nll(labels: Tensor) -> selection.Score:
    return lambda outputs: -float(torch.nn.functional.nll_loss(outputs.log(), labels))


def test_top_orders_by_score_and_keeps_the_earlier_of_equals() -> None:
    assert selection.top([1.0, 3.0, 2.0, 3.0], 3) == [1, 3, 2]


def test_greedy_takes_the_best_single_member_first_then_the_best_complement() -> None:
    torch.manual_seed(0)
    outputs = torch.rand(5, 40, 3).softmax(-1)
    labels = torch.randint(0, 3, (40,))
    score = nll(labels)
    chosen = selection.greedy(outputs, score, 3)
    first = max(range(5), key=lambda i: score(outputs[i]))
    second = max((i for i in range(5) if i != first), key=lambda i: score((outputs[first] + outputs[i]) / 2))
    assert chosen[:2] == [first, second]
    assert len(set(chosen)) == 3


def test_greedy_prefers_members_that_err_apart_to_the_two_best_alone() -> None:
    # a and b are the best alone and err alike; c is weaker, but right where they are wrong
    a = torch.tensor([[0.9, 0.1], [0.9, 0.1], [0.2, 0.8]])
    c = torch.tensor([[0.5, 0.5], [0.3, 0.7], [0.95, 0.05]])
    outputs, labels = torch.stack([a, a.clone(), c]), torch.tensor([0, 0, 0])
    assert selection.top([nll(labels)(o) for o in outputs], 2) == [0, 1]
    pairs = {p: nll(labels)((outputs[p[0]] + outputs[p[1]]) / 2) for p in permutations(range(3), 2)}
    best = max(pairs, key=lambda p: pairs[p])
    assert set(selection.greedy(outputs, nll(labels), 2)) == set(best)


def test_greedy_asks_for_no_more_than_there_are() -> None:
    assert sorted(selection.greedy(torch.full((2, 4, 2), 0.5), nll(torch.zeros(4, dtype=torch.long)), 8)) == [0, 1]


def candidates(seed: int, k: int = 7, n: int = 60, c: int = 4) -> tuple[Tensor, Tensor]:
    rng = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, c, (n,), generator=rng)
    logits = torch.randn(k, n, c, generator=rng) * torch.linspace(0.5, 4, k)[:, None, None]
    logits[:, torch.arange(n), labels] += 1
    return logits.softmax(-1), labels


def naive_greedy(
    outputs: Tensor, score: selection.Score, size: int, *, replacement: bool, diversity: float, rule: str
) -> list[int]:
    """The docstring's formula in float64, every distance worked out anew."""
    apart = pairwise_disagreement(outputs, outputs)
    chosen: list[int] = []

    def worth(i: int) -> float:
        bonus = sum(float(apart[i, j]) for j in chosen) / len(chosen) if chosen else 0.0
        some = outputs[[*chosen, i]].double()
        together = some.mean(dim=0) if rule == "mean" else some.log().mean(dim=0).softmax(-1)
        return score(together.float()) + diversity * bonus

    while len(chosen) < size:
        chosen.append(max((i for i in range(len(outputs)) if replacement or i not in chosen), key=worth))
    return chosen


@pytest.mark.parametrize("diversity", [0.0, 0.05, 0.5, 100.0])
@pytest.mark.parametrize("replacement", [False, True])
@pytest.mark.parametrize("rule", ["mean", "logit-mean"])
def test_greedy_is_what_its_formula_says(rule: str, replacement: bool, diversity: float) -> None:
    for seed in range(6):
        outputs, labels = candidates(seed)
        how: dict[str, Any] = {"replacement": replacement, "rule": rule}
        expected = naive_greedy(outputs, nll(labels), 6, diversity=diversity, **how)
        apart = diversity * pairwise_disagreement(outputs, outputs)
        assert selection.greedy(outputs, nll(labels), 6, apart=apart, **how) == expected


def test_the_rule_decides_who_is_chosen() -> None:
    chosen = []
    for seed in range(6):
        outputs, labels = candidates(seed)
        chosen.append([selection.greedy(outputs, nll(labels), 4, rule=rule) for rule in ("mean", "logit-mean")])
    assert any(by_mean != by_logits for by_mean, by_logits in chosen)


def test_replacement_lets_a_good_member_stay_where_a_bad_one_would_join() -> None:
    good = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    outputs, labels = torch.stack([1 - good, good, 1 - good]), torch.tensor([0, 0, 0])
    assert selection.greedy(outputs, nll(labels), 3) == [1, 0, 2]
    assert selection.greedy(outputs, nll(labels), 5, replacement=True) == [1] * 5  # more than there are candidates


def test_replacement_never_scores_below_what_it_could_have_taken() -> None:
    for seed in range(6):
        outputs, labels = candidates(seed)
        score = nll(labels)
        last = [score(outputs[selection.greedy(outputs, score, m, replacement=True)].mean(dim=0)) for m in range(1, 8)]
        once = [score(outputs[selection.greedy(outputs, score, m)].mean(dim=0)) for m in range(1, 8)]
        assert last[0] == once[0] and last[-1] > once[-1]  # at the end, once must take all seven


def even(outputs: Tensor) -> float:
    return 0.0


def test_diversity_chooses_among_equals_the_one_that_differs() -> None:
    # all score the same, however they are combined; 0 and 1 answer alike, 2 differs in half of the cases
    alike = torch.tensor([[0.6, 0.4]] * 4)
    other = torch.tensor([[0.6, 0.4]] * 2 + [[0.4, 0.6]] * 2)
    outputs = torch.stack([alike, alike, other])
    apart = pairwise_disagreement(outputs, outputs)
    assert selection.greedy(outputs, even, 2) == [0, 1]
    assert selection.greedy(outputs, even, 2, apart=1e-9 * apart) == [0, 2]
    assert selection.greedy(outputs, even, 3, replacement=True, apart=apart) == [0, 2, 0]


def test_members_chosen_again_are_a_weighted_mean() -> None:
    outputs, labels = candidates(1)
    chosen = selection.greedy(outputs, nll(labels), 9, replacement=True)
    times = {i: chosen.count(i) for i in dict.fromkeys(chosen)}
    assert len(times) < 9
    together = combine(outputs[list(times)], "weighted", [float(n) for n in times.values()])
    assert torch.allclose(together, outputs[chosen].mean(dim=0), rtol=1e-5)


def test_calibrated_score_is_not_fooled_by_a_member_that_is_only_less_sure() -> None:
    # 1 is 0 with its overconfidence taken back; 2 knows a little more than either and is as overconfident as 0
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 4, (4000,), generator=rng)
    logits = torch.randn(4000, 4, generator=rng)
    logits[torch.arange(4000), labels] += 1.5
    more = logits.clone()
    more[torch.arange(4000), labels] += 0.2
    outputs = torch.stack([(4 * logits).softmax(-1), logits.softmax(-1), (4 * more).softmax(-1)])
    assert selection.greedy(outputs, nll(labels), 1) == [1]
    assert selection.greedy(outputs, lambda p: -calibrated_nll(p, labels), 1) == [2]


def test_contenders_are_those_not_yet_told_apart() -> None:
    noise = torch.tensor([0.1, -0.1] * 8, dtype=torch.float64)
    clear = [noise + 9, noise.flip(0) + 1.01, noise + 1, noise - 5]
    assert selection.contenders(clear, 2) == [1, 2]
    assert selection.contenders(clear, 1) == []
    assert selection.contenders(clear, 4) == []


def test_race_spends_cases_on_contenders_only_and_finds_the_best() -> None:
    rng = torch.Generator().manual_seed(3)
    truth = torch.tensor([3.0, 2.0, 1.4, 1.0, -4.0], dtype=torch.float64)
    luck = torch.randn(400, generator=rng, dtype=torch.float64)
    own = torch.randn(5, 400, generator=rng, dtype=torch.float64)
    results = truth[:, None] + luck + own
    asked: list[int] = []

    def more(places: selection.Sequence[int], part: Split) -> list[Tensor]:
        asked.extend(places)
        return [results[i, part.first : part.first + part.count] for i in places]

    whole = Split("search", 0, 400)
    cases = selection.race([r[:16] for r in results], more, whole, 16, 2)
    assert selection.top([float(c.mean()) for c in cases], 2) == [0, 1]
    assert 4 not in asked and len(cases[4]) == 16
    assert all(torch.equal(c, results[i, : len(c)]) for i, c in enumerate(cases))
    assert selection.contenders(cases, 2) == [] or max(map(len, cases)) == 400


def test_race_stops_when_the_split_is_spent() -> None:
    same = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)
    whole = Split("search", 0, 10)
    cases = selection.race([same] * 3, lambda places, part: [same[: part.count]] * len(places), whole, 4, 1)
    assert [len(c) for c in cases] == [10, 10, 10]
