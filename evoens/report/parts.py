"""What a section of a report is made of: sentences, tables, pictures and blocks of code."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Table:
    """Rows of cells, the first the row's name; without a head it is a list of facts. `strong` names a row to stress."""

    rows: Sequence[Sequence[str]]
    head: Sequence[str] = ()
    caption: str = ""
    strong: str = ""


@dataclass(frozen=True)
class Picture:
    """An image inside the page: `source` is a data URI, `description` its words for who cannot see it."""

    source: str
    description: str
    caption: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page: sentences, then tables, pictures and blocks of code."""

    name: str
    title: str
    text: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    code: Sequence[str] = ()


def drawn(svg: str, description: str, caption: str = "") -> Picture:
    """Return an SVG as a picture."""
    return Picture(uri("svg+xml", svg.encode()), description, caption)


def uri(kind: str, data: bytes) -> str:
    """Return an image of a `kind`, such as `png`, as a data URI."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
