"""The command that pools: the predictors of a table as members of ensembles of any few of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evoens.commands import session
from evoens.machine.allocator import keep_memory


def pool(folder: Path, size: int, budget: float | None, *, silent: bool) -> dict[str, Any]:
    """Score the ensembles of a table's predictors, and say the best of them."""
    keep_memory()
    from evoens.report.console import Reporter  # noqa: PLC0415 (rich)
    from evoens.scoring.text import number  # noqa: PLC0415
    from evoens.tables.pool import write_pool  # noqa: PLC0415 (torch)

    with Reporter(quiet=silent) as reporter, session.said_by(reporter):
        found = write_pool(folder, size, budget, reporter.preparation)
        head = ["Members", "Accuracy", "NLL", "Improvement"]
        rows = [
            [", ".join(own["members"]), *(number(own[key], 4) for key in ("accuracy", "nll", "improvement"))]
            for own in found["chosen"]["best"]
        ]
        title = f"{found['subsets']:,} ensembles of {size} of {len(found['members'])}, the best by select"
        reporter.rows(title, head, rows)
        reporter.next_commands([f"open {folder / 'pool.html'} in a browser"])
    return found
