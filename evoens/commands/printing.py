"""What the commands print: one JSON object, or tables for people."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evoens.commands.explain import COLUMNS, grouped
from evoens.errors import Check, visible

if TYPE_CHECKING:
    from rich.console import RenderableType

    from evoens.machine.screen import Screen

WIDE = 200  # columns where no terminal says how many there are
LONG = 100  # seconds that nobody counts as such


def any_encoding() -> None:
    """Let standard output and error take every text: a letter that their encoding lacks is printed as `?`."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(text: object, *, err: bool = False, end: str = "\n") -> None:
    """Print a text for people, on standard output or error, with nothing in it that a terminal would obey."""
    print(visible(str(text)), end=end, file=sys.stderr if err else sys.stdout, flush=True)


def print_json(value: Any) -> None:
    """Print one JSON object on standard output, in ASCII, so that no encoding loses a letter of it."""
    print(json.dumps(value, indent=1))


def print_finished(folder: Path, *, quiet: bool, as_json: bool) -> None:
    """Print what a run that has said nothing has come to: its report as JSON, or its verdict and where its page is."""
    report = (folder / "report.json").read_text("utf-8")
    if as_json:
        print(report, end="")  # in ASCII, as it was written
    elif quiet:
        say(json.loads(report)["verdict"])
        say(folder / "report.html")


def print_rows(title: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Print rows as a table; `columns` names each key that is shown, and its heading."""
    from rich.table import Table  # noqa: PLC0415 (not for `--help` and `validate`)

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(_short(row.get(key)) for key in columns))
    console = _console()
    console.print(table if rows else f"{title}\nnone")
    console.print()


def print_explained(rows: Sequence[Mapping[str, str]], *, as_json: bool) -> None:
    """Print what keys of a YAML mean, by what they belong to, or as one JSON array."""
    if as_json:
        return print_json(rows)
    for title, some in grouped(rows).items():
        print_rows(title, some, COLUMNS)
    return None


def print_checks(checks: Sequence[Check], as_json: bool) -> None:
    """Print what was checked, a line each, or all as one JSON array."""
    if as_json:
        print_json([{"name": c.name, "ok": c.ok, "detail": c.detail} for c in checks])
        return
    for c in checks:
        say(f"{'ok    ' if c.ok else 'BROKEN'}  {c.name}: {c.detail}")


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print a nested object as two columns, the key dotted and its value; many seconds as minutes or hours."""
    from rich.table import Table  # noqa: PLC0415

    from evoens.scoring.text import duration  # noqa: PLC0415

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in _flat(facts):
        long = key.endswith("seconds") and isinstance(value, int | float) and value >= LONG
        table.add_row(key, duration(value) if long else _short(value))
    show(table)


def show(what: RenderableType) -> None:
    """Print a table, or whatever else rich can render."""
    _console().print(what)


def _console() -> Screen:
    from evoens.machine.screen import Screen  # noqa: PLC0415

    return Screen(width=None if sys.stdout.isatty() else WIDE)


def _flat(facts: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        elif isinstance(value, list) and value and isinstance(value[0], Mapping | str):
            for i, item in enumerate(value):
                yield f"{prefix}{key}[{i}]", item
        else:
            yield prefix + key, value


def _short(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_short(inner)}" for key, inner in value.items())
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value)
