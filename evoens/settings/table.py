"""The keys of a table, which compares many ways to make an ensemble, beside those of any classification YAML."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from evoens.settings.base import Conflict, Name, Natural, Section

Seed = Annotated[int, Field(ge=0, lt=2**63)]


class BudgetSettings(Section):
    """What each method may spend on training."""

    epochs: Natural
    """Passes over the train split, for all networks of a method together."""


class TableSettings(Section):
    """A table of methods at one budget; `problem`, `parent` and further sections are as in any classification YAML.

    Each key of `methods` is the name of a row. A row has the arguments of its method, or, where it evolves, sections
    of an ordinary YAML that go over the table's; and `method`, where its name says something else, `epochs`, where its
    budget is another, and `train` over `parent.train`.
    """

    name: Name
    """The table's name, and its folder's."""
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    """Of all that is drawn; each gives every row once more."""
    budget: BudgetSettings
    baseline: Name = "single"
    """The row that differences are taken from."""
    methods: Annotated[
        dict[Name, dict[str, Any] | None],
        Field(min_length=1, json_schema_extra={"expected": "a section for each row, by its name"}),
    ]
    """The rows: a baseline's name, a Strategy's, or any other with `method: my.py:Class`."""

    def conflicts(self) -> Iterator[Conflict]:
        """Differences are taken from a row that is there; no seed stands twice."""
        if self.baseline not in self.methods:
            yield Conflict("baseline", "methods", f"expected one of {', '.join(self.methods)}, found {self.baseline}")
        if len(set(self.seeds)) < len(self.seeds):
            yield Conflict("seeds", "seeds", "expected each seed once")
