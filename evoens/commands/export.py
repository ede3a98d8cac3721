"""The command that writes a run's ensemble as one file to deploy."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from evoens.commands import printing, session
from evoens.commands.options import RUNS, Folder, Json, Runs
from evoens.errors import CheckpointError, ConfigError
from evoens.machine.allocator import keep_memory


class Form(str, Enum):
    """What an ensemble can be written as."""

    onnx = "onnx"
    pt2 = "pt2"
    safetensors = "safetensors"


def export(
    folder: Folder,
    *,
    to: Annotated[Form, typer.Option("--to", help="ONNX, torch.export's file, or the members' state dicts.")],
    raw: Annotated[bool, typer.Option("--raw", help="Take bytes (n, c, h, w), and normalise them within.")] = False,
    size: Annotated[int | None, typer.Option("--size", min=1, help="Only so many members, the first chosen.")] = None,
    budget: Annotated[
        str | None, typer.Option("--budget", metavar="2x", help="Only the members that so many parents' FLOPs pay for.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="The file's path; else in the run's folder.")] = None,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Write an ensemble as one file to deploy."""
    folder = session.run_folder(folder, runs)
    times = _times(budget, size)
    path = out or folder / f"ensemble.{to.value}"
    if path.is_dir():
        raise ConfigError(f"--out: expected a file's path, found the folder {path}")
    _require_exportable(folder, to, raw=raw, size=size)
    keep_memory()
    from evoens.commands.deployment import deploy  # noqa: PLC0415 (torch)

    found = deploy(folder, path, to.value, raw=raw, size=size, times=times)
    if found["lost"]:
        printing.say("warning: the temperature was fitted to all members; that of fewer is not known", err=True)
    if json:
        printing.print_json(found)
    else:
        printing.say(
            "{path}: {members} members, {bytes:,} bytes; at most {difference:.1e} from the ensemble's {prediction}"
            "\n\n{usage}".format(**found)
        )


def _times(budget: str | None, size: int | None) -> float | None:
    """Return how many times the parent's operations a budget is.

    Raises:
        ConfigError: it is no such number, or there is a size too.
    """
    if budget is None:
        return None
    if size is not None:
        raise ConfigError("--size, --budget: expected one of them, found both")
    try:
        times = float(budget.removesuffix("x"))
    except ValueError:
        times = 0.0
    if not 1 <= times < float("inf"):
        raise ConfigError(f"--budget: expected a number of parents, 1x or more, such as 2x, found {budget}")
    return times


def _require_exportable(folder: Path, to: Form, *, raw: bool, size: int | None) -> None:
    """Find what cannot be before weights are read.

    Raises:
        CheckpointError: the run has no ensemble yet. ConfigError: it has none of this kind.
    """
    if not (folder / "ensemble" / "genomes.json").is_file():
        raise CheckpointError(f"{folder}: expected a finished run, found no ensemble in it")
    from evoens.architecture import GIVEN  # noqa: PLC0415 (torch)
    from evoens.ensemble_folder import read_description  # noqa: PLC0415
    from evoens.export.file import require_packages  # noqa: PLC0415
    from evoens.export.module import require_graph  # noqa: PLC0415

    about = read_description(folder / "ensemble")
    count = len(about.get("members") or ())
    if size is not None and size > count:
        raise ConfigError(f"--size: expected at most {count} members, as the ensemble has, found {size}")
    if raw and not about.get("preprocessing"):
        raise ConfigError("--raw: expected a classifier of images, whose normalisation is known, found none")
    if str((about.get("architecture") or {}).get("target")).startswith(GIVEN):
        found = "found one that was given to evolve as a module; load_ensemble(…, model=…).module() can be exported"
        raise ConfigError(f"{folder}: expected a network that is built from its name, {found}")
    if to is Form.onnx:
        require_packages()
    if to is not Form.safetensors:
        require_graph(about["combine"])
