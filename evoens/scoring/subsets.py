"""Ensembles of all subsets of a pool, scored from kept outputs: a million of them in less than a minute.

What a subset says of a case need not be worked out for all classes. Where all members agree, so does every subset; and
elsewhere only few classes can be a subset's answer. What is left is a product of two matrices.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from evoens.errors import ShapeError
from evoens.machine.threads import side_by_side
from evoens.scoring.calibration import TINY

CHUNK = 64  # subsets whose scores are worked out at a time: what is found of each case stays in the cache


@dataclass(frozen=True)
class Scores:
    """What subsets of a pool reach, a row each.

    Attributes:
        accuracy: of the mean of the members' probabilities, `(s,)`.
        nll: of that mean, in nats, `(s,)`.
        vote: the accuracy of the majority vote, `(s,)`, where a tie is drawn: it counts as the chance to be right.
        improvement: the accuracy of the mean less that of the subset's best member, Y of DRE section 4.4, `(s,)`.
    """

    accuracy: Tensor
    nll: Tensor
    vote: Tensor
    improvement: Tensor


def all_subsets(members: int, size: int) -> Iterator[tuple[int, ...]]:
    """Yield every subset of `size` of the members, in lexical order."""
    return combinations(range(members), size)


def drawn_subsets(members: int, size: int, count: int, seed: int) -> list[tuple[int, ...]]:
    """Return `count` different subsets, drawn by chance; all there are, where these are not more.

    Args:
        members: of the pool.
        size: of a subset.
        count: how many are wanted.
        seed: of the draw.
    """
    if comb(members, size) <= count:
        return list(all_subsets(members, size))
    rng, found = Random(f"{seed}:subsets:{size}"), dict[tuple[int, ...], None]()
    while len(found) < count:
        found[tuple(sorted(rng.sample(range(members), size)))] = None
    return list(found)


class Pool:
    """The kept outputs of a pool, laid out so that its subsets are scored quickly.

    Args:
        outputs: the members' probabilities, `(m, n, c)`.
        labels: `(n,)`.

    Raises:
        ShapeError: the two do not fit.
    """

    def __init__(self, outputs: Tensor, labels: Tensor) -> None:
        if outputs.dim() != 3 or labels.shape != outputs.shape[1:2] or not len(labels):
            expected = "outputs (m, n, c) and labels (n,), n ≥ 1"
            raise ShapeError(f"expected {expected}, found {tuple(outputs.shape)} and {tuple(labels.shape)}")
        self.members, self.cases, classes = outputs.shape
        own = outputs.float()
        answers = own.argmax(-1)
        self.alone = (answers == labels).double().mean(1)
        self._true = own.gather(2, labels.expand(len(own), -1)[..., None])[..., 0].contiguous()
        self._means = _Ballot(own, labels)
        self._votes = _Ballot(F.one_hot(answers, classes).to(own.dtype), labels)

    def score(self, subsets: Sequence[Sequence[int]]) -> Scores:
        """Return what each subset reaches, in order; subsets are of one size, and their members places in the pool."""
        parts = [subsets[start : start + CHUNK] for start in range(0, len(subsets), CHUNK)]
        if not parts:
            return Scores(*[torch.zeros(0, dtype=torch.float64)] * 4)
        with side_by_side(torch.get_num_threads()) as threads:
            return Scores(*(torch.cat(column) for column in zip(*threads.map(self._scored, parts), strict=True)))

    def _scored(self, subsets: Sequence[Sequence[int]]) -> tuple[Tensor, ...]:
        weights = self._weights(subsets)
        accuracy, vote = (ballot.right(weights).double() / self.cases for ballot in (self._means, self._votes))
        nll = -(weights @ self._true).clamp_min_(TINY).log_().mean(1).double()
        best = torch.where(weights > 0, self.alone, 0.0).amax(1)
        return accuracy, nll, vote, accuracy - best

    def _weights(self, subsets: Sequence[Sequence[int]]) -> Tensor:
        """Return a row for each subset, with the share of each member in it; they are of one size."""
        members = torch.tensor(subsets)
        return torch.zeros(len(subsets), self.members).scatter_(1, members, 1 / members.shape[1])


class _Ballot:
    """What decides which class a subset's sum of values is highest for, and whether that is the true one.

    Args:
        values: of each member for each class, `(m, n, c)`.
        labels: `(n,)`.
    """

    def __init__(self, values: Tensor, labels: Tensor) -> None:
        possible = _possible(values)
        true = F.one_hot(labels, values.shape[2]).bool()
        rivals = (possible & ~true).sum(1)
        open_ = (possible & true).any(1)
        self._sure = int((open_ & (rivals == 0)).sum())
        self._kinds = list[
            tuple[Tensor, list[Tensor]]
        ]()  # by the number of rivals: the true class's values, and theirs
        for count in torch.unique(rivals[open_ & (rivals > 0)]).tolist():
            here = (open_ & (rivals == count)).nonzero()[:, 0]
            own = values[:, here]
            others = (possible & ~true)[here].nonzero()[:, 1].view(len(here), count)
            rows = own.gather(2, others.expand(len(own), -1, -1))  # (m, cases, count)
            self._kinds.append((own[:, true[here]].contiguous(), [row.contiguous() for row in rows.unbind(2)]))

    def right(self, weights: Tensor) -> Tensor:
        """Return of how many cases each weighted sum is right, `(s,)`; of a tie, the chance to be."""
        found = torch.full((len(weights),), float(self._sure))
        for true, rivals in self._kinds:
            own, best = weights @ true, weights @ rivals[0]
            for rival in rivals[1:]:
                torch.maximum(best, weights @ rival, out=best)
            found += (own > best).sum(1)
            if (level := own == best).any():
                ties = torch.stack([weights @ rival == own for rival in rivals]).sum(0)
                found += torch.where(level, 1 / (1 + ties), 0.0).sum(1)
        return found


def _possible(values: Tensor) -> Tensor:
    """Return which classes can have the highest sum of some members' values: bool, `(n, c)`.

    One cannot whose every value is zero, or below the least of another class: that class is above it in every sum.
    """
    least, most = values.amin(0), values.amax(0)
    return (most >= least.amax(-1, keepdim=True)) & (most > 0)
