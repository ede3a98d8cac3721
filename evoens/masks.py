"""From a ranking of weights to a mask: exact counts, whole channels, two of four; by draws or by magnitude."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evoens.genome import Mask

Bools = npt.NDArray[np.bool_]
Scores = npt.NDArray[Any]


def ranked(scores: Scores, mask: Mask, shape: Sequence[int], share: float | None = None) -> Bools:
    """Return where `mask` holds in a tensor of `shape`, when its units are ranked by their scores, the lowest first.

    A mask, or the first of several parts, has the first of the ranking, the next part what comes next; equal scores
    count by their place. Every part is of its share to the nearest unit, and so is what is left to the others.

    Args:
        scores: one a unit: a channel's, `(shape[0],)`, where the structure is `channels`, else a weight's, in order.
        mask: a draw of its own plays no part here.
        shape: of the tensor.
        share: keep so many units, if that is more: the mask's own, and of the others those that are nearest to them in
            the ranking. Of two shares, the smaller one's units are among the larger one's. `2:4` takes no share.
    """
    if mask.structure == "2:4":
        rows = shape[0] if len(shape) > 1 else 1
        return _two_of_four(scores.reshape(rows, prod(shape) // max(rows, 1)), mask.part).reshape(shape)
    kept = _part(scores.ravel(), mask, share)
    return spread(kept, shape) if mask.structure == "channels" else kept.reshape(shape)


def magnitude(mask: Mask, weight: Tensor, share: float | None = None) -> Tensor:
    """Return where `mask` holds in `weight` when the largest come first: bool, of `weight`'s shape.

    By `|w|`, or by its sum over a channel, the L1 norm (Li et al. 2017); see `ranked`.
    """
    size = weight.detach().abs()
    if mask.structure == "channels":
        size = size.double().flatten(1).sum(1)  # in float64 no machine's order of summing changes the ranking
    kept = ranked(-size.cpu().numpy(), mask, weight.shape, share)
    return torch.from_numpy(kept).to(weight.device)


def places(n: int, mask: Mask) -> tuple[int, int]:
    """Return which places of a ranking of `n` a part has, the first and the one after the last."""
    if mask.parts <= 2:
        border = round(mask.density * n)
        return (border, n) if mask.part else (0, border)
    first, last = (-(-n * part // mask.parts) for part in (mask.part, mask.part + 1))
    return first, last


def spread(kept: Bools, shape: Sequence[int]) -> Bools:
    """Return a mask of whole channels, `(shape[0],)`, as one of their weights, of `shape`."""
    return np.repeat(kept, prod(shape[1:])).reshape(shape)


def _part(scores: Scores, mask: Mask, share: float | None) -> Bools:
    first, last = places(scores.size, mask)
    count = max(last - first, round((share or 0) * scores.size))
    if mask.parts == 2 and mask.part:
        return ~lowest(scores, scores.size - count)
    beyond = first + count - scores.size  # the ranking is a ring where there are more than two parts
    kept = lowest(scores, first + count) & ~lowest(scores, first)
    return kept | lowest(scores, beyond) if beyond > 0 else kept


def lowest(scores: Scores, count: int) -> Bools:
    """Return where the `count` lowest scores are, the first of equal ones."""
    if count <= 0 or count >= scores.size:
        return np.full(scores.shape, count > 0)
    border = np.partition(scores, count - 1)[count - 1]
    lowest: Bools = scores < border
    equal = np.flatnonzero(scores == border)
    lowest[equal[: count - int(lowest.sum())]] = True
    return lowest


def _two_of_four(scores: Scores, part: int) -> Bools:
    """Return the two lowest of every four in a row, or for part 1 the other two."""
    rows, width = scores.shape
    whole = width // 4 * 4
    kept = np.empty(scores.shape, dtype=np.bool_)
    kept[:, :whole] = _lower_half(scores[:, :whole].reshape(-1, 4)).reshape(rows, whole)
    kept[:, whole:] = _lower_half(scores[:, whole:])
    return ~kept if part else kept


def _lower_half(groups: Scores) -> Bools:
    """Return where the lower half of each row is, the larger half of an odd number."""
    kept = np.zeros(groups.shape, dtype=np.bool_)
    order = np.argsort(groups, axis=1, kind="stable")
    np.put_along_axis(kept, order[:, : -(-groups.shape[1] // 2)], True, axis=1)
    return kept
