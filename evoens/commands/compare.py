"""The command that compares: the methods of a table's YAML, or runs that are finished."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evoens.commands import printing, session
from evoens.config.load import located
from evoens.config.table import load_table
from evoens.errors import CheckpointError, ConfigError
from evoens.machine.allocator import keep_memory

MOST = 1000  # seeds of a call
DIGITS = 18  # of a seed: it is below 2⁶³

if TYPE_CHECKING:
    from evoens.report.console import Reporter


def compare_methods(
    problem: str,
    settings: Sequence[str],
    runs: Path,
    *,
    methods: str | None,
    seeds: str | None,
    name: str | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Make the table of a YAML, or go on with it.

    Raises:
        ConfigError: the YAML, or what is to be done of it, is wrong.
    """
    table = load_table(problem, [*settings, *([f"name={name}"] if name else [])])
    rows, chosen = table.chosen(methods), list(table.settings.seeds) if seeds is None else seeds_of(seeds)
    folder = runs / table.settings.name
    with session.interruptible(session.this_command(), folder), _console(quiet or as_json) as reporter, located(table):
        from evoens.tables.work import make_table  # noqa: PLC0415 (torch)

        found = make_table(table, rows, chosen, folder, reporter)
        _show(reporter, folder, found)
    _print(folder, found, quiet=quiet, as_json=as_json)


def compare_runs(paths: Sequence[str], runs: Path, name: str | None, *, quiet: bool, as_json: bool) -> None:
    """Set finished runs side by side.

    Raises:
        CheckpointError: there is no such run, it is not finished, or they are not of one problem.
    """
    folders = [session.run_folder(Path(path), runs) for path in paths]
    own = name or "comparison"
    folder = runs / own
    if folder.exists() and not (folder / "table.json").is_file():
        raise CheckpointError(f"{folder}: expected no such folder yet, or a table's, found another; choose --name")
    with _console(quiet or as_json) as reporter:
        from evoens.tables.finished import compare_finished  # noqa: PLC0415

        found = compare_finished(folders, own, folder, reporter.preparation)
        _show(reporter, folder, found)
    _print(folder, found, quiet=quiet, as_json=as_json)


def seeds_of(text: str) -> list[int]:
    """Return the seeds that the command line names: `0,3`, or `0..2` for 0, 1, 2.

    Raises:
        ConfigError: it is neither.
    """
    found = list[int]()
    for part in text.split(","):
        first, dots, last = part.strip().partition("..")
        known = first.isdecimal() and (last.isdecimal() or not dots) and len(first + last) <= DIGITS
        seeds = range(int(first), int(last or first) + 1) if known else range(0)
        if not seeds or len(found) + len(seeds) > MOST:
            raise ConfigError(f'--seeds: expected at most {MOST} numbers, as in 0..2 or 0,3, found "{text}"')
        found += seeds
    return list(dict.fromkeys(found))


@contextmanager
def _console(silent: bool) -> Iterator[Reporter]:
    keep_memory()
    from evoens.report.console import Reporter  # noqa: PLC0415 (rich)

    with Reporter(quiet=silent) as reporter, session.said_by(reporter):
        yield reporter


def _show(reporter: Reporter, folder: Path, found: dict[str, Any]) -> None:
    from evoens.tables.page import scores, subtitle  # noqa: PLC0415

    reporter.rows(f"{found['name']}: {subtitle(found)}", *scores(found))
    reporter.next_commands([f"open {folder / 'table.html'} in a browser"])


def _print(folder: Path, found: dict[str, Any], *, quiet: bool, as_json: bool) -> None:
    if as_json:
        printing.print_json(found)
    elif quiet:
        printing.say(folder / "table.html")
