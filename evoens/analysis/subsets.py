"""Ensembles of some of a pool: what each gains over its best member, and which diversity tells that beforehand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evoens.scoring.metrics import Floats, spearman
from evoens.scoring.subsets import Pool, Scores, drawn_subsets

MOST = 20_000  # subsets that are scored and drawn; of more, so many by chance


@dataclass(frozen=True)
class Subsets:
    """Subsets of one size.

    Attributes:
        members: the places of each in the pool, `(s, k)`.
        scores: what they reach.
        traits: what each is like, by name, `(s,)`: the mean over its pairs of a measure of diversity, or over its
            members of what a member is by itself.
    """

    members: NDArray[np.int64]
    scores: Scores
    traits: Mapping[str, Floats]

    @property
    def improvements(self) -> dict[str, Floats]:
        """What each gains over its best member, by consensus: the mean, and the vote."""
        own = self.scores
        best = own.accuracy - own.improvement
        return {"mean": own.improvement.numpy(), "vote": (own.vote - best).numpy()}


def subsets_of(
    outputs: Tensor,
    labels: Tensor,
    size: int,
    *,
    seed: int,
    pairs: Mapping[str, Tensor],
    alone: Mapping[str, Sequence[float]],
) -> Subsets:
    """Score the subsets of one size: all of them, or as many as are drawn.

    Args:
        outputs: the members' probabilities, `(m, n, c)`.
        labels: `(n,)`.
        size: of a subset.
        seed: of the draw.
        pairs: measures of diversity, `(m, m)` each, by name.
        alone: what members are by themselves, such as their numbers of weights, m each, by name.
    """
    found = np.array(drawn_subsets(len(outputs), size, MOST, seed))
    pool = Pool(outputs, labels)
    traits: dict[str, Floats] = {}
    for name, matrix in pairs.items():
        own = matrix.double().numpy()
        i, j = np.triu_indices(size, 1)
        traits[name] = own[found[:, i], found[:, j]].mean(1)
    for name, values in {"accuracy": pool.alone.tolist(), **alone}.items():
        traits[name] = np.asarray(values, np.float64)[found].mean(1)
    return Subsets(found, pool.score(found.tolist()), traits)


def correlations(of: Subsets, consensus: str, members: int) -> dict[str, dict[str, Any]]:
    """Return the rank correlation of each trait with the improvement, with its 95 % interval, by name.

    Subsets share members, so they are no independent cases: the interval is the jackknife's over members (Efron 1981),
    which leaves out all subsets of one member at a time.
    """
    gain = of.improvements[consensus]
    without = np.stack([~(of.members == member).any(1) for member in range(members)])
    found = {}
    for name, values in of.traits.items():
        rho = float(spearman(values, gain))
        left = np.array([float(spearman(values[own], gain[own])) for own in without if own.sum() > 2])
        left = left[np.isfinite(left)]
        error = float(np.sqrt((len(left) - 1) * left.var())) if len(left) > 1 else float("nan")
        known = bool(np.isfinite([rho, error]).all())
        ends = [max(-1.0, rho - 1.96 * error), min(1.0, rho + 1.96 * error)] if known else None
        found[name] = {"score": rho if np.isfinite(rho) else None, "ci95": ends}
    return found


def greedy(outputs: Tensor, labels: Tensor, size: int) -> list[int]:
    """Return members one after another, each the one that lowers the NLL of the mean most (Caruana et al. 2004).

    It is for what has too many subsets; no member is taken twice.
    """
    pool, chosen = Pool(outputs, labels), list[int]()
    while len(chosen) < min(size, len(outputs)):
        left = [member for member in range(len(outputs)) if member not in chosen]
        scores = pool.score([[*chosen, member] for member in left])
        chosen.append(left[int(torch.argmin(scores.nll))])
    return chosen
