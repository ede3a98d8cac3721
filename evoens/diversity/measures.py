"""Registry of pairwise diversity measures: whatever watches, draws, tabulates or weighs diversity reads its rows.

What computes is named, not imported, so that a YAML is checked against these names without torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

BITS = "evoens.diversity.hashes:pairwise_bits"


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of how far two members differ.

    Attributes:
        name: in JSON files, as a TensorBoard tag, and as `diversity_by` of a YAML.
        title: the same in words, as within a sentence.
        unit: what its values are.
        function: `module:function` from two tensors of k members to `(k, k)` float64: of probabilities `(k, n, c)`, or
            of the bits `(k, n, bits)` of a hash.
        hash: `module:function`, the hash of painted saliency maps whose bits are compared (see `diversity.hashes`);
            None compares outputs.
        alike: 1 for a similarity, whose distance is what it lacks to 1.
        watched: whether each generation is measured by it; fitness, selection and analysis may use it either way.
        meaning: for the glossary of a page; none for what a more general term explains.
    """

    name: str
    title: str
    unit: str
    function: str
    hash: str | None = None
    alike: float = 0.0
    watched: bool = True
    meaning: str = ""

    @property
    def label(self) -> str:
        """The title, as it stands at the beginning of a line."""
        return self.title[0].upper() + self.title[1:]

    def pairs(self, a: Tensor, b: Tensor) -> Tensor:
        """Measure every member i of `a` against every j of `b`: `(k, k)`."""
        measure: Callable[[Tensor, Tensor], Tensor] = resolve_name(self.function)
        return measure(a, b)

    def distances(self, members: Tensor) -> Tensor:
        """Distance between every two of the members, `(k, k)`: symmetric, 0 for members that are alike."""
        found = self.pairs(members, members)
        return self.alike - found if self.alike else (found + found.T) / 2


MEASURES: dict[str, Measure] = {
    measure.name: measure
    for measure in (
        Measure(
            "kl",
            "KL between members",
            "nats",
            "evoens.diversity.outputs:pairwise_kl",
            meaning="The KL divergence between the answers of two members, averaged over all pairs, both ways round.",
        ),
        Measure(
            "disagreement",
            "disagreement",
            "share of inputs",
            "evoens.diversity.outputs:pairwise_disagreement",
            meaning="The share of inputs on which two members give different answers.",
        ),
        Measure(
            "correlation",
            "correlation",
            "1: alike",
            "evoens.diversity.outputs:pairwise_correlation",
            alike=1.0,
            watched=False,
        ),
        Measure("cosine", "cosine", "1: alike", "evoens.diversity.outputs:pairwise_cosine", alike=1.0, watched=False),
        Measure("average", "average hash", "share of bits", BITS, "evoens.diversity.hashes:average"),
        Measure("perceptual", "perceptual hash", "share of bits", BITS, "evoens.diversity.hashes:perceptual"),
        Measure("difference", "difference hash", "share of bits", BITS, "evoens.diversity.hashes:difference"),
        Measure("wavelet", "wavelet hash", "share of bits", BITS, "evoens.diversity.hashes:wavelet"),
        Measure("colour", "colour hash", "share of bits", BITS, "evoens.diversity.hashes:colour"),
    )
}
"""Every measure by its name, in the order in which they are shown."""


def of_outputs() -> list[Measure]:
    """Return the measures that compare members' outputs."""
    return [measure for measure in MEASURES.values() if measure.hash is None]


def watched() -> list[Measure]:
    """Return the measures of each generation."""
    return [measure for measure in MEASURES.values() if measure.watched]
