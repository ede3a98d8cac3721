"""Different networks: children of equal weights are one, however many genomes lead to it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from evoens.children import TunedWeights, child_weights
from evoens.genome import Genome
from evoens.parent import Parent, fingerprint
from evoens.strategy import Strategy


def distinct(
    parent: Parent,
    strategy: Strategy,
    measured: Sequence[tuple[Genome, Tensor]],
    tuned: TunedWeights | None = None,
) -> list[int]:
    """Return the places of the children that no child before them equals, bit for bit.

    Only children with the same results can be equal, so that the weights of few are looked at.

    Args:
        parent: of all of them.
        strategy: rebuilds them.
        measured: genomes, and their results on the same cases, `(n,)`.
        tuned: where their weights are, where they are trained.
    """
    alike: dict[bytes, list[int]] = {}
    for place, (_, cases) in enumerate(measured):
        alike.setdefault(cases.numpy().tobytes(), []).append(place)
    found = []
    for places in alike.values():
        bits = (
            [fingerprint(child_weights(parent, strategy, measured[i][0], tuned)) for i in places]
            if len(places) > 1
            else [""]
        )
        found += [place for i, place in enumerate(places) if bits[i] not in bits[:i]]
    return sorted(found)
