"""Selection against exhaustive search, worked cases and simulated races."""

from __future__ import annotations

from itertools import permutations

import torch
from torch import Tensor

from evoens import selection
from evoens.problem import Split


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
