"""What every section of a YAML is made of: frozen, strict, and able to name values that do not go together."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import Self

SAID = "said"
"""The type of pydantic's errors whose message says what was expected."""


def _nameable(text: str) -> str:
    """Refuse what no file can be called, before anything asks the system about it."""
    try:
        name = os.fsencode(text)
    except UnicodeEncodeError:
        raise PydanticCustomError(SAID, "a path of characters that there are") from None
    if b"\0" in name:
        raise PydanticCustomError(SAID, "a path without NUL")
    if len(name) > 4000 or any(len(part) > 200 for part in name.split(b"/")):
        raise PydanticCustomError(SAID, "a path of names of at most 200 bytes")
    return text


Fraction = Annotated[float, Field(gt=0, le=1)]
Natural = Annotated[int, Field(ge=1)]
Many = Annotated[int, Field(ge=1, le=1_000_000)]
"""How many of what takes memory, or time, each."""
Name = Annotated[
    str,
    AfterValidator(_nameable),
    Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        json_schema_extra={"expected": 'a name of letters, digits, "_", "." and "-"'},
    ),
]
PathText = Annotated[str, AfterValidator(_nameable), Field(min_length=1, json_schema_extra={"expected": "a path"})]
ClassText = Annotated[
    str,
    AfterValidator(_nameable),
    Field(
        min_length=1, json_schema_extra={"expected": "a strategy's name, path/to/file.py:Class or package.module:Class"}
    ),
]
MethodText = Annotated[
    str,
    AfterValidator(_nameable),
    Field(
        pattern=r"\.py$|:.",
        json_schema_extra={"expected": "path/to/file.py:Class or package.module:Class"},
    ),
]
ARCHIVE, PARETO = "map-elites", "nsga2"
SearchName = Literal["elites", "map-elites", "es", "cma-es", "snes", "xnes", "pgpe", "cem", "ga", "nsga2"]
SEARCHES: tuple[str, ...] = get_args(SearchName)
SCALING, SUBSPACES = SEARCHES[2:], SEARCHES[3:]
"""Searches that change how strong a gene is, so that they need a Strategy's scale; those in few directions."""
NO_RIBS = "expected the package ribs (pyribs) for map-elites, found none: pip install 'evoens[qd]'"
SearchText = SearchName | MethodText
Layer = Annotated[str, Field(min_length=1)]
Scope = Annotated[
    Literal["auto"]
    | Layer
    | Annotated[tuple[Layer, ...], Field(min_length=1)]
    | Annotated[dict[Literal["from"], Layer], Field(min_length=1)]
    | None,
    Field(json_schema_extra={"expected": "a layer, a list of layers, `from: layer`, auto or null"}),
]


class Conflict(NamedTuple):
    """Two values that do not go together: `key` is the one to mend, `other` what it must fit, from the section on."""

    key: str
    other: str
    message: str


class Section(BaseModel):
    """A block of the YAML: frozen, an unknown key is an error, and values that do not go together are named."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, populate_by_name=True, allow_inf_nan=False)

    def conflicts(self) -> Iterator[Conflict]:
        """Yield the values of this section that are fine alone and wrong together; the base has none."""
        return iter(())

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        found = list(self.conflicts())
        if found:
            text = "; ".join(f"{c.key}: {c.message}" for c in found)
            raise PydanticCustomError("conflict", "{text}", {"text": text, "conflicts": found})
        return self


class ProblemSettings(Section):
    """What is solved: the part of a YAML that the engine leaves to the problem; `type` says which problem it is."""

    type: str
    """Which kind of problem it is."""

    @property
    def counts(self) -> dict[str, int]:
        """How many cases the search, select and test splits have; a split whose size only the data tell is left out."""
        return {}


class ParentSettings(Section):
    """Where the parent's weights are, and how it is trained when they are not there."""

    checkpoint: PathText
    """The parent's weights; they are trained, and written there, where they are not there yet."""
