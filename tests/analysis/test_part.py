from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from evoens.analysis.part import Finding, Kept, Part, Shown, carry_out, read_finding
from evoens.report.parts import Table


class Squares(Part):
    """Squares of 0 to 3; fails at `bad` once asked for it."""

    name, title, cost, steps = "squares", "Squares", "nothing", 4

    def __init__(self, bad: int | None = None) -> None:
        self.bad, self.taken = bad, list[int]()

    def step(self, place: int) -> dict[str, Tensor]:
        if place == self.bad:
            raise KeyboardInterrupt
        self.taken.append(place)
        return {"square": torch.tensor([place**2])}

    def finish(self, kept: Sequence[Kept]) -> Finding:
        found = [int(row["square"]) for row in kept]
        picture = Shown("squares.svg", b"<svg/>", "squares")
        return Finding(["Squares."], {"squares": found}, [Table([["a", "b"]])], [picture])


def nobody(_: int) -> None:
    pass


def test_what_a_part_finds_is_kept_and_not_looked_for_again(tmp_path: Path) -> None:
    told: list[int] = []
    found = carry_out(Squares(), tmp_path, "key", told.append)
    assert told == [1, 2, 3, 4] and found["figures"] == {"squares": [0, 1, 4, 9]}
    assert json.loads((tmp_path / "squares.json").read_text()) == found
    assert sorted(path.name for path in tmp_path.iterdir()) == ["squares.json", "squares.svg"]
    again = Squares(bad=0)
    assert carry_out(again, tmp_path, "key", nobody) == found and not again.taken


def test_an_interrupted_part_goes_on_at_the_step(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        carry_out(Squares(bad=2), tmp_path, "key", nobody)
    assert read_finding(tmp_path / "squares.json") == {}
    rest = Squares()
    assert carry_out(rest, tmp_path, "key", nobody)["figures"] == {"squares": [0, 1, 4, 9]}
    assert rest.taken == [2, 3]


def test_steps_of_another_key_are_taken_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        carry_out(Squares(bad=2), tmp_path, "key", nobody)
    other = Squares()
    carry_out(other, tmp_path, "another", nobody)
    assert other.taken == [0, 1, 2, 3]
    first = Squares()
    carry_out(first, tmp_path, "key", nobody)
    assert first.taken == [0, 1, 2, 3]


def test_a_step_that_was_cut_off_is_taken_again(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        carry_out(Squares(bad=2), tmp_path, "key", nobody)
    half = min((tmp_path / ".squares").iterdir())
    half.write_bytes(half.read_bytes()[:20])
    rest = Squares()
    assert carry_out(rest, tmp_path, "key", nobody)["figures"] == {"squares": [0, 1, 4, 9]}
    assert rest.taken == [0, 2, 3]


@pytest.mark.parametrize("damage", ["file", "picture"])
def test_what_is_damaged_is_done_again(tmp_path: Path, damage: str) -> None:
    found = carry_out(Squares(), tmp_path, "key", nobody)
    if damage == "file":
        (tmp_path / "squares.json").write_text('{"key": "ke')
    else:
        (tmp_path / "squares.svg").unlink()
    again = Squares()
    assert carry_out(again, tmp_path, "key", nobody) == found and again.taken == [0, 1, 2, 3]
