from __future__ import annotations

import pytest

from evoens.errors import EvoensError, one_line, visible


class UnreadableError(Exception):
    def __str__(self) -> str:
        raise ValueError("no")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]0;owned\x07", r"\x1b]0;owned\x07"),
        ("\x9b31mred", r"\x9b31mred"),  # the eight-bit introducer of an escape sequence
        ("safe\rhidden\x08\x7f", r"safe\rhidden\x08\x7f"),
        ("\u202egpj.exe\u2066", r"\u202egpj.exe\u2066"),
        ("name\udcff", r"name\udcff"),
        ("σ = 1\n\té 👩\u200d🔬 [red]", "σ = 1\n\té 👩\u200d🔬 [red]"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, shown: str) -> None:
    assert visible(text) == shown
    visible(text).encode()  # and is UTF-8


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\n  two\x85three"), "ValueError: one two three"),
        (KeyError("\x1b[31m"), r"KeyError: '\x1b[31m'"),
        (OSError("\x1b[31m\x00"), r"OSError: \x1b[31m\x00"),
        (SystemExit(), "SystemExit"),
        (SystemExit(3), "SystemExit: 3"),
        (UnreadableError(), "UnreadableError: (its message cannot be read)"),
        (type("\x1b[2J", (Exception,), {})("x"), r"\x1b[2J: x"),
        (ValueError("x" * 288), "ValueError: " + "x" * 288),
        (ValueError("x" * 289), "ValueError: " + "x" * 287 + "…"),
        (ValueError("\x1b" * 1000), "ValueError: " + r"\x1b" * 71 + r"\x1" + "…"),
    ],
)
def test_an_error_is_told_in_one_line(error: BaseException, line: str) -> None:
    assert one_line(error) == line and len(line) <= 300


def test_a_message_is_visible_and_of_a_size_to_be_read() -> None:
    first, second = str(EvoensError("begins\x1b[2J" + "x" * 9000 + "ends\nand goes on")).split("\n")
    assert first.startswith(r"begins\x1b[2Jxx") and first.endswith("xxends") and len(first) < 2010
    assert second == "and goes on"
