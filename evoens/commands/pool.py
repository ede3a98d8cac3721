"""The command that pools: the predictors of a table as members of ensembles of any few of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evoens.commands import printing, session
from evoens.commands.options import RUNS, Json, Quiet, Runs
from evoens.machine.allocator import keep_memory


def pool(
    table: Annotated[Path, typer.Argument(help="The folder of a table that compare has made, or its name in --runs.")],
    *,
    size: Annotated[int, typer.Option(help="The members of an ensemble.")] = 3,
    budget: Annotated[float | None, typer.Option(help="Numbers that the best may have to keep.")] = None,
    runs: Runs = RUNS,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Score ensembles of any few predictors of a table."""
    folder = table if table.is_dir() else runs / table
    keep_memory()
    from evoens.report.console import Reporter  # noqa: PLC0415 (rich)
    from evoens.tables.pool import write_pool  # noqa: PLC0415 (torch)
    from evoens.tables.pool_page import best  # noqa: PLC0415

    with Reporter(quiet=quiet or json) as reporter, session.said_by(reporter):
        found = write_pool(folder, size, budget, reporter.preparation)
        reporter.rows(*best(found))
        reporter.next_commands([f"open {folder / 'pool.html'} in a browser"])
    if json:
        printing.print_json(found)
    elif quiet:
        printing.say(folder / "pool.html")
