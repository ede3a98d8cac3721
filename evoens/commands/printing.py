"""What the commands print: one JSON object, or tables for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evoens.errors import Check

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

WIDE = 200  # columns where no terminal says how many there are


def print_json(value: Any) -> None:
    """Print one JSON object on standard output."""
    print(json.dumps(value, indent=1, ensure_ascii=False))


def print_finished(folder: Path, *, quiet: bool, as_json: bool) -> None:
    """Print what a run that has said nothing has come to: its report as JSON, or its verdict and where its page is."""
    report = (folder / "report.json").read_text("utf-8")
    if as_json:
        print(report, end="")
    elif quiet:
        print(json.loads(report)["verdict"], folder / "report.html", sep="\n")


def print_rows(title: str, rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str]) -> None:
    """Print rows as a table; `columns` names each key that is shown, and its heading."""
    from rich.table import Table  # noqa: PLC0415 (not for `--help` and `validate`)
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in columns.values():
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_short(row.get(key))) for key in columns))
    console = _console()
    console.print(table if rows else Text(f"{title}\nnone"))
    console.print()


def print_checks(checks: Sequence[Check], as_json: bool) -> None:
    """Print what was checked, a line each, or all as one JSON array."""
    if as_json:
        print_json([{"name": c.name, "ok": c.ok, "detail": c.detail} for c in checks])
        return
    for c in checks:
        print(f"{'ok    ' if c.ok else 'BROKEN'}  {c.name}: {c.detail}")


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print a nested object as two columns, the key dotted and its value."""
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, value in _flat(facts):
        table.add_row(Text(key), Text(_short(value)))
    show(table)


def show(what: RenderableType) -> None:
    """Print a table, or whatever else rich can render."""
    _console().print(what)


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415

    return Console(width=None if sys.stdout.isatty() else WIDE, highlight=False, emoji=False, markup=False)


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
