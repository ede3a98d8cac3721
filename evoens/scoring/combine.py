"""Combine rules: how the members' probabilities become the ensemble's."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from evoens.errors import ShapeError, SpecError, nearest
from evoens.scoring.calibration import log_probabilities

Integers = npt.NDArray[np.int64]
GRAIN = 1024  # ties are drawn from probabilities in steps of 1/1024, far above the rounding that depends on a batch


def mean(outputs: Tensor) -> Tensor:
    """Return the mean of the members' probabilities (dissertation eq. 3.24, 3.25), the default: `(k, n, c)` → `(n, c)`.

    Like every rule it keeps the dtype.
    """
    _check(outputs)
    return outputs.mean(dim=0)


def weighted(outputs: Tensor, weights: Sequence[float] | Tensor) -> Tensor:
    """Return the weighted mean of the members' probabilities (dissertation eq. 3.24): `(k, n, c)` → `(n, c)`.

    weights: one a member, `(k,)`, none below 0, not all 0; only their ratios count.

    Raises:
        ShapeError: there are not k weights. SpecError: they are not such numbers.
    """
    _check(outputs)
    w = torch.as_tensor(weights, dtype=torch.float64).cpu()
    if w.shape != outputs.shape[:1]:
        raise ShapeError(f"weights: expected shape ({len(outputs)},), one a member, found {tuple(w.shape)}")
    if not (torch.isfinite(w).all() and (w >= 0).all() and w.sum() > 0):
        raise SpecError(f"weights: expected numbers ≥ 0, not all 0, found {w.tolist()}")
    return (outputs * (w / w.sum()).to(outputs)[:, None, None]).sum(dim=0)


def logit_mean(outputs: Tensor) -> Tensor:
    """Return the softmax of the mean ln p, which is the softmax of the mean logits: `(k, n, c)` → `(n, c)`.

    Logits are ln p plus a constant of the member and the input, which the softmax drops; and exp of the mean ln p is
    the geometric mean. So the mean of the logits (DRE section 4.2) and the geometric mean of the probabilities, divided
    by its sum (DRE section 4.3), are one rule, here under both names. A zero counts as 1.2e-38.
    """
    _check(outputs)
    return log_probabilities(outputs).mean(dim=0).softmax(-1).to(outputs.dtype)


geometric_mean = logit_mean


def majority_vote(outputs: Tensor, seed: int = 0) -> Tensor:
    """Return each class's share of the votes, one vote a member (dissertation eq. 3.23): `(k, n, c)` → `(n, c)`.

    Ties are drawn at random (DRE section 4.2), and the drawn class's share is lifted by the least that makes it the
    largest. The draw depends on `seed` and on the case's own probabilities, in steps of 1/1024 summed over the
    members: not on the batch, the other cases or the members' order.
    """
    _check(outputs)
    k, _, c = outputs.shape
    votes = torch.nn.functional.one_hot(outputs.argmax(-1), c).sum(dim=0)
    shares = votes.to(outputs.dtype) / k
    first = votes == votes.amax(-1, keepdim=True)
    ties = (first.sum(-1) > 1).nonzero()[:, 0]
    grains = (outputs[:, ties].double() * GRAIN).round().long().sum(dim=0)
    cases = zip(first[ties].cpu().numpy(), grains.cpu().numpy(), strict=True)
    drawn = torch.tensor([_draw(tied.nonzero()[0], own, seed) for tied, own in cases], dtype=torch.long)
    shares[ties, drawn.to(shares.device)] *= 1 + torch.finfo(shares.dtype).eps
    return shares


def _draw(classes: Integers, grains: Integers, seed: int) -> int:
    """Return one of `classes`, drawn by a hash of the seed and the case."""
    digest = hashlib.sha256(f"{seed}:".encode() + grains.astype("<i8").tobytes()).digest()
    return int(classes[int.from_bytes(digest[:8], "little") % len(classes)])


def median(outputs: Tensor) -> Tensor:
    """Return each class's median over the members, divided by their sum (DRE section 4.3): `(k, n, c)` → `(n, c)`.

    With even k the median is the mean of the two in the middle. Where every class's median is 0, as when three
    members are sure of three classes, the members' mean takes its place.
    """
    _check(outputs)
    ordered = outputs.sort(dim=0).values
    middle = (ordered[(len(outputs) - 1) // 2] + ordered[len(outputs) // 2]) / 2
    total = middle.sum(-1, keepdim=True)
    return torch.where(total > 0, middle / total, outputs.mean(dim=0))


RULES: dict[str, Callable[..., Tensor]] = {
    "mean": mean,
    "weighted": weighted,
    "logit-mean": logit_mean,
    "geometric-mean": geometric_mean,
    "majority-vote": majority_vote,
    "median": median,
}


def combine(
    outputs: Tensor, rule: str = "mean", weights: Sequence[float] | Tensor | None = None, seed: int = 0
) -> Tensor:
    """Return what the members' probabilities `(k, n, c)` say together, `(n, c)`, by the rule of this name.

    Args:
        outputs: each member's probabilities, rows sum to 1; a member that was chosen twice may stand twice.
        rule: a name in `RULES`.
        weights: for "weighted" alone, which needs them.
        seed: for "majority-vote" alone: it draws ties.

    Raises:
        ShapeError: `outputs` is not `(k, n, c)` with a member, or `weights` not `(k,)`.
        SpecError: there is no such rule, or weights are missing, or given to a rule that has no use for them.
    """
    if rule not in RULES:
        raise SpecError(f'combine: expected one of {", ".join(RULES)}, found "{rule}"{nearest(rule, RULES)}')
    if (weights is not None) != (rule == "weighted"):
        raise SpecError(f'combine: expected weights with the rule "weighted" alone, found rule "{rule}", {weights=}')
    options: dict[str, dict[str, Any]] = {"weighted": {"weights": weights}, "majority-vote": {"seed": seed}}
    return RULES[rule](outputs, **options.get(rule, {}))


def _check(outputs: Tensor) -> None:
    if outputs.dim() != 3 or not len(outputs):
        raise ShapeError(f"outputs: expected shape (k, n, c), k ≥ 1, found {tuple(outputs.shape)}")
