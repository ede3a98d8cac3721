"""The command that distils a run's ensemble into one network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evoens.commands import printing, session
from evoens.commands.options import RUNS, Folder, Force, Json, Quiet, Runs, Settings
from evoens.config.load import RESOLVED, load, located
from evoens.errors import CheckpointError
from evoens.machine.allocator import keep_memory


def distill(
    folder: Folder,
    *,
    settings: Settings = None,
    out: Annotated[Path | None, typer.Option("--out", help="The weights' file; else in the run's folder.")] = None,
    runs: Runs = RUNS,
    force: Force = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train one network on an ensemble's answers."""
    folder = session.run_folder(folder, runs)
    if not (folder / "ensemble" / "genomes.json").is_file():
        raise CheckpointError(f"{folder}: expected a finished run, found no ensemble in it")
    loaded = load(folder / RESOLVED, settings or (), retrain=(folder / "parent").is_dir())
    keep_memory()
    from evoens.experiment.distilled import FOLDER, distilled  # noqa: PLC0415 (torch)
    from evoens.report.console import Reporter  # noqa: PLC0415
    from evoens.tasks import open_task  # noqa: PLC0415

    command = session.this_command()
    with (
        session.interruptible(command, folder / FOLDER),
        located(loaded),
        Reporter(quiet=quiet or json) as reporter,
        session.said_by(reporter),
    ):
        task = open_task(loaded.config, loaded.base, reporter.preparation)
        path = out or folder / f"{FOLDER}.safetensors"
        found = distilled(task, folder, path, reporter, command, force=force)
    if json:
        printing.print_json(found)
        return
    if not quiet:
        columns = dict(zip(found["rows"][0], found["head"], strict=True))
        printing.print_rows(
            f"{found['cases']:,} cases of the test split [95 % interval, paired]", found["rows"], columns
        )
    printing.say(found["path"])
