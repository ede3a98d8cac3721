import json

import pytest

from evoens.commands import printing
from evoens.errors import Check


def test_rows(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"name": "a", "score": 1.23456789, "n": 1234567}, {"name": "[red]b[/red]", "score": None}]
    printing.print_rows("some", rows, {"name": "name", "score": "score", "n": "count"})
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "some",
        "name          score    count",
        "a             1.23457  1234567",
        "[red]b[/red]  –        –",
        "",
    ]


def test_no_rows(capsys: pytest.CaptureFixture[str]) -> None:
    printing.print_rows("some", [], {"name": "name"})
    assert capsys.readouterr().out.split() == ["some", "none"]


def test_facts_are_flat(capsys: pytest.CaptureFixture[str]) -> None:
    printing.print_facts(
        {"a": {"b": 1, "c": {}}, "d": [{"e": 1, "f": 2.5}, {"e": 3}], "g": [1, 2], "h": ["x"], "i": True}
    )
    found = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if len(line.split()) > 1)
    assert {key: text.strip() for key, text in found.items()} == {
        "a.b": "1", "d[0]": "e 1, f 2.5", "d[1]": "e 3", "g": "[1, 2]", "h[0]": "x", "i": "True",
    }  # fmt: skip


def test_many_seconds_are_minutes_or_hours(capsys: pytest.CaptureFixture[str]) -> None:
    printing.print_facts({"cost": {"seconds": 1234.5}, "training_seconds": 20_000, "seconds": 99, "passes": 1234})
    found = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines() if line.strip())
    assert {key: text.strip() for key, text in found.items()} == {
        "cost.seconds": "21 min", "training_seconds": "5 h 33 min", "seconds": "99", "passes": "1234",
    }  # fmt: skip


def test_long_values_stay_on_one_line_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    printing.print_facts({"key": "ab" * 60})
    assert capsys.readouterr().out.strip().endswith("ab" * 60)


def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    printing.print_json({"σ": [1, None]})
    text = capsys.readouterr().out
    assert json.loads(text) == {"σ": [1, None]}
    assert text.isascii()  # no encoding loses a letter, no terminal finds an order


def test_nothing_printed_is_an_order_to_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    name = "[red]\x1b]0;owned\x07"
    printing.print_rows(name, [{name: name}], {name: name})
    printing.print_facts({name: name})
    printing.print_checks([Check(name, False, name)], as_json=False)
    printing.say(name, err=True)
    said = capsys.readouterr()
    shown = r"[red]\x1b]0;owned"
    assert said.out.count(shown) == 7 and said.err == rf"{shown}\x07" + "\n"
    assert not set("\x1b\x07") & set(said.out)
