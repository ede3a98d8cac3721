"""What an analysis of diversity has found, a section of the page for each part."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evoens.report.facts import Facts
from evoens.report.parts import Picture, Section, Table, uri

KINDS = {".svg": "svg+xml", ".png": "png"}


def analyses(facts: Facts) -> list[Section]:
    """Return a section for each part that was carried out, in the order of the parts."""
    return [
        Section(
            name=f"diversity-{name}",
            title=found["title"],
            text=found["text"],
            tables=[Table(**table) for table in found["tables"]],
            pictures=[_picture(row) for row in found["pictures"]],
        )
        for name, found in facts.analyses.items()
    ]


def _picture(row: Any) -> Picture:
    return Picture(uri(KINDS[Path(row["file"]).suffix], row["data"]), row["description"], row["caption"])
