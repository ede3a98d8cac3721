"""The section with the films of an ensemble and its parent, where a problem can be filmed."""

from __future__ import annotations

from evoens.report.facts import PLAYERS, Facts
from evoens.report.parts import Picture, Section, uri


def films(facts: Facts) -> list[Section]:
    """Return the films, where there are any: not every problem can be filmed."""
    shown = [
        Picture(uri("gif", facts.pictures[file]), f"{who} plays one case of the test split.", who)
        for file, who in PLAYERS.items()
        if file in facts.pictures
    ]
    same = "The same case of the test split, with the same chance for both. One case shows a style, not a score."
    return [Section("play", "On the screen", [same], pictures=shown)] if shown else []
