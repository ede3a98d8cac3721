"""A command at work in a run's folder: started only where it may be, stopped so that it can go on."""

from __future__ import annotations

import shlex
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from evoens.commands.printing import say
from evoens.config.load import RESOLVED, Loaded, build, differences, located
from evoens.errors import CheckpointError, nearest
from evoens.machine.allocator import keep_memory
from evoens.plugins.guest import listening
from evoens.storage.card import read_card

if TYPE_CHECKING:
    from evoens.report.console import Reporter

FAILED, WRONG, INTERRUPTED = 1, 2, 130
"""Exit codes: something was checked and is broken; the user's mistake; Ctrl-C."""


def end(message: str, code: int) -> NoReturn:
    """Print `message` on standard error and leave with `code`."""
    say(message, err=True)
    raise typer.Exit(code)


def execute(
    loaded: Loaded, folder: Path, *, silent: bool, retrain: bool, force: bool = False, overwrite: bool = False
) -> None:
    """Run, or go on with, the experiment in `folder`; or, with `overwrite`, in the stead of the one that is there."""
    keep_memory()
    from evoens.report.console import Reporter  # noqa: PLC0415

    with (
        interruptible(f"python -m evoens resume {shlex.quote(str(folder))}", folder / RESOLVED),
        Reporter(quiet=silent) as reporter,
        said_by(reporter),
    ):
        for note in loaded.notes:
            reporter.on_stage(note)
        build(loaded, folder, reporter, retrain=retrain, force=force, overwrite=overwrite).execute()


def train(loaded: Loaded, runs: Path, path: Path, *, silent: bool, force: bool) -> tuple[Path, dict[str, Any], str]:
    """Train the parent, or go on training it, and write it to `path`.

    Returns:
        The file of its weights, its card, and a line that says what it is.
    """
    keep_memory()
    from evoens.report.console import Reporter  # noqa: PLC0415
    from evoens.tasks import open_task  # noqa: PLC0415
    from evoens.tasks.task import trainer  # noqa: PLC0415

    folder, command = runs / f"{loaded.config.name}-parent", this_command()
    with interruptible(command, folder), located(loaded), Reporter(quiet=silent) as reporter, said_by(reporter):
        task = open_task(loaded.config, loaded.base, reporter.preparation)
        training = trainer(task)
        for note in loaded.notes:
            reporter.on_stage(note)
        task.untrained()  # what is wrong is found before anything is said or written
        reporter.on_stage(f"training a parent for {training.budget} in {folder}")
        training.train(folder, reporter.on_training, force)
    path = training.export(folder, path, command)
    card = read_card(path)
    return path, card, f"{path}: a parent of {training.summary(card)}"


def read_data(loaded: Loaded) -> list[str]:
    """Open every image of a problem's data; return a line for each pool of them, none where there are no images.

    Raises:
        ConfigError: something is wrong with them; the message has its place.
    """
    from evoens.report.console import Reporter  # noqa: PLC0415
    from evoens.tasks import open_task  # noqa: PLC0415

    with located(loaded), Reporter(quiet=True) as reporter, said_by(reporter):
        return open_task(loaded.config, loaded.base, reporter.preparation).read()


@contextmanager
def interruptible(command: str, needs: Path) -> Iterator[None]:
    """Turn Ctrl-C into the command that goes on, once there is something to go on with."""
    try:
        with listening():
            yield
    except KeyboardInterrupt:
        end(f"interrupted; go on with:\n  {command}" if needs.exists() else "interrupted", INTERRUPTED)


@contextmanager
def said_by(reporter: Reporter) -> Iterator[None]:
    """Let Python's warnings be said as the run's own are, without the line of code they come from."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_, **__: reporter.on_warning(str(message))
        yield


def this_command() -> str:
    """Return the command line of this process, as it can be typed again."""
    return shlex.join(["python", "-m", "evoens", *sys.argv[1:]])


def run_folder(folder: Path, runs: Path) -> Path:
    """Return the run's folder that a path or a plain name means.

    Raises:
        CheckpointError: there is none; the message names the nearest.
    """
    for path in (folder, runs / folder):
        if (path / RESOLVED).is_file():
            return path
    known = [path.parent.name for path in runs.glob(f"*/{RESOLVED}")]
    hint = nearest(folder.name, known)
    raise CheckpointError(f"{folder}: expected a run's folder with a {RESOLVED} in it, found none{hint}")


def refuse_existing(loaded: Loaded, folder: Path, overwrite: bool = False) -> None:
    """Let no run go into another's folder, nor silently on with its own; with `overwrite`, only into a run's.

    Raises:
        CheckpointError: the folder is taken; the message says by what, and how to go on.
    """
    saved = folder / RESOLVED
    if saved.is_file() and overwrite:
        return
    if saved.is_file():
        raise CheckpointError(f"{folder}: expected no run there yet, found {_occupant(loaded, saved)}")
    if folder.exists() and not (folder.is_dir() and all(path.name.startswith(".") for path in folder.iterdir())):
        raise CheckpointError(f"{folder}: expected no such folder yet, found one that is not a run's; choose --name")


def _occupant(loaded: Loaded, saved: Path) -> str:
    folder = saved.parent
    lines = differences(loaded.config, saved)
    if lines:
        return "\n  ".join(
            ["another, which differs; choose --name for this one, resume the other, or --overwrite it:", *lines]
        )
    if (folder / "report.json").is_file():
        return f"this one, finished: see {folder / 'report.html'}, or choose --name or --overwrite to run it again"
    return f"this one, not finished; go on with:\n  python -m evoens resume {shlex.quote(str(folder))}"
