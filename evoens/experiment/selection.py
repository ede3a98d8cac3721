"""Selection: which children become members, and how many cases it takes to tell children apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from evoens.problem import Score, Split
from evoens.scoring.combine import combine


def top(scores: Sequence[float], size: int) -> list[int]:
    """Return the places of the `size` highest scores, the best first; ties go to the earlier (dissertation alg. 1)."""
    return sorted(range(len(scores)), key=lambda i: -scores[i])[:size]


def greedy(
    outputs: Tensor,
    score: Score,
    size: int,
    *,
    replacement: bool = False,
    apart: Tensor | None = None,
    rule: str = "mean",
    seed: int = 0,
) -> list[int]:
    """Return `size` members, each the one that lifts the score of what they say together most (Caruana et al. 2004).

    The worth of a candidate i to the members S chosen so far, repeats counted, is

        score(outputs of S and i, combined) + mean over j in S of d(i, j),

    d being `apart`; the first member has no bonus. This is the form of greedy max-sum diversification (Borodin, Lee &
    Ye 2012).

    Args:
        outputs: kept probabilities of the candidates, `(k, n, c)`; no network runs here.
        score: the worth of probabilities `(n, c)`, higher is better; ties go to the earlier candidate.
        size: how many; without replacement no more than there are candidates.
        replacement: whether a member may be chosen again, which gives it more weight and lets a few good
            members stay where a worse one would have to join.
        apart: what each two candidates' distance is worth in the score's unit, `(k, k)`; nothing where it is None.
        rule: by which the members' outputs become one (`evoens.scoring.combine.RULES`).
        seed: of the rule, which may draw ties.
    """
    chosen: list[int] = []
    apart = torch.zeros(len(outputs), len(outputs)) if apart is None else apart
    while len(chosen) < (size if replacement else min(size, len(outputs))):
        rest = [i for i in range(len(outputs)) if replacement or i not in chosen]
        bonus = (apart[:, chosen].sum(1) / max(1, len(chosen))).tolist()
        worth = {i: score(combine(outputs[[*chosen, i]], rule, seed=seed)) + bonus[i] for i in rest}
        chosen.append(max(rest, key=lambda i: worth[i]))
    return chosen


def contenders(cases: Sequence[Tensor], k: int) -> list[int]:
    """Return the places of the children that may yet belong to the best `k`, or fall out of them.

    cases: each child's results so far, float64 `(n_i,)`, paired: case j is the same for all that have it. A child is
    settled when its mean differs from the k-th border by more than two standard errors of the paired difference.
    Fewer than two unsettled children contend with nobody: the list is then empty.
    """
    means = [float(c.mean()) for c in cases]
    order = top(means, len(cases))
    if k >= len(cases):
        return []
    inside, outside = order[k - 1], order[k]
    open_ = [i for i in order[:k] if not _apart(cases[i], cases[outside])]
    open_ += [i for i in order[k:] if not _apart(cases[inside], cases[i])]
    return sorted(open_) if len(open_) > 1 else []


def _apart(better: Tensor, worse: Tensor) -> bool:
    n = min(len(better), len(worse))
    difference = better[:n] - worse[:n]
    if difference.isinf().any():  # one of the two has failed, and scores −inf: there is no spread to speak of
        return bool(difference.mean() > 0)
    return bool(difference.mean() > 2 * difference.std() / n**0.5)


def race(
    start: Sequence[Tensor],
    more: Callable[[Sequence[int], Split], Sequence[Tensor]],
    split: Split,
    step: int,
    k: int,
) -> list[Tensor]:
    """Give the contenders `step` more cases at a time until the best `k` are told apart or the split is spent.

    start: every child's results on the first cases, all equally many. more: measures the children at these places on
    a part of the split; one that is in contention again is first given what it missed, so that case j stays the same
    for all. Returns all results, some longer than others (after Hoeffding races, Maron & Moore 1994, with
    the errors of paired differences in place of Hoeffding's bound).
    """
    cases, done = list(start), len(start[0])
    while done < split.count and (places := contenders(cases, k)):
        done = min(done + step, split.count)
        for had in sorted({len(cases[i]) for i in places}):
            group = [i for i in places if len(cases[i]) == had]
            for i, result in zip(group, more(group, split.part(had, done - had)), strict=True):
                cases[i] = torch.cat([cases[i], result])
    return cases
