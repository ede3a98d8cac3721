"""Behaviour descriptors: what a child is like by itself, a number that a quality-diversity archive is laid out by.

What computes is named, not imported, so that a YAML is checked against these names without torch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pkgutil import resolve_name
from typing import TYPE_CHECKING

from evoens.diversity.measures import MEASURES

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Behaviour:
    """One descriptor of a child; none is ever negative.

    Attributes:
        name: in JSON files, and in `search.measures` of a YAML.
        title: the same in words.
        unit: what its values are.
        function: `module:function` from probabilities `(k, n, c)` of k children to `(k,)` float64; None is the distance
            to the parent by the measure of diversity of the same name.
    """

    name: str
    title: str
    unit: str
    function: str | None = None

    @property
    def label(self) -> str:
        """The title and the unit, as at an axis."""
        return f"{self.title}, {self.unit}"

    def of(self, outputs: Tensor) -> Tensor:
        """Return it of each child from its probabilities `(k, n, c)`, `(k,)`; only where there is a function."""
        assert self.function is not None
        function: Callable[[Tensor], Tensor] = resolve_name(self.function)
        return function(outputs)


def behaviours() -> dict[str, Behaviour]:
    """Return every descriptor by its name: the distance to the parent by each measure, and what needs no parent."""
    distances = (
        Behaviour(m.name, f"distance to the parent by {m.name}", f"1 − {m.title}" if m.alike else m.unit)
        for m in MEASURES.values()
    )
    alone = (
        Behaviour("confidence", "confidence", "mean probability", "evoens.diversity.outputs:confidence"),
        Behaviour("balance", "class balance", "share of ln(classes)", "evoens.diversity.outputs:balance"),
    )
    return {found.name: found for found in (*distances, *alone)}
