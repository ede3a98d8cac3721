"""The arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Problem = Annotated[str, typer.Argument(help="A YAML file, or the name of a problem that ships.")]
Folder = Annotated[Path, typer.Argument(help="The run's folder, or its name in --runs.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Over the YAML; repeatable.")]
Runs = Annotated[Path, typer.Option("--runs", help="Where the folders of runs are.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result, and errors.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Retrain = Annotated[bool, typer.Option("--retrain", help="Train a new parent, even if there is one.")]
Force = Annotated[bool, typer.Option("--force", help="Go on in spite of the differences that are named.")]
RUNS = Path("runs")
