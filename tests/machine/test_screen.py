from __future__ import annotations

import io

from rich.table import Table
from rich.text import Text

from evoens.machine.screen import Screen

NAME = "[red]\x1b]0;owned\x07 :smile: \u202e"


def test_texts_are_printed_as_they_are_wherever_they_stand() -> None:
    table = Table(title=NAME, caption=NAME)
    table.add_column(NAME)
    table.add_row(NAME)
    out = io.StringIO()
    screen = Screen(file=out, width=100, force_terminal=True, color_system=None)
    screen.print(table, NAME, Text(NAME))
    said = out.getvalue()
    assert said.count(r"[red]\x1b]0;owned") == 6 and said.count(r":smile: \u202e") == 6
    assert not set(said) & set("\x07\u202e") and "\x1b]" not in said


def test_its_own_codes_stay() -> None:
    out = io.StringIO()
    screen = Screen(file=out, force_terminal=True, color_system="standard")
    screen.print(Text("a", "red"))
    screen.show_cursor(False)
    assert out.getvalue() == "\x1b[31ma\x1b[0m\n\x1b[?25l"
