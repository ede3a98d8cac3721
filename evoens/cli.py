"""The command line: every command in a few lines, nothing heavy imported before it is needed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from evoens.commands import inspection, printing, session, validation
from evoens.commands.distillation import distill
from evoens.commands.estimate import planned
from evoens.commands.explain import explain
from evoens.commands.export import export
from evoens.commands.group import Group
from evoens.commands.options import RUNS, Folder, Force, Json, Problem, Quiet, Retrain, Runs, Settings
from evoens.commands.pool import pool
from evoens.config.load import RESOLVED, Loaded, load
from evoens.config.shipped import shipped_problems
from evoens.errors import Check, CheckpointError, ConfigError
from evoens.machine.allocator import keep_memory
from evoens.storage.card import find_parent

app = typer.Typer(
    name="evoens",
    cls=Group,
    help="Evolve one trained network into an ensemble.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help starts in half the time, and an error stays one line
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version  # noqa: PLC0415 (imports as much as all commands together)

        printing.say(f"evoens {version('evoens')}")
        raise typer.Exit


@app.callback()
def top(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Evolve one trained network into an ensemble."""


@app.command()
def run(
    problem: Problem,
    *,
    settings: Settings = None,
    name: Annotated[str | None, typer.Option("--name", help="Of the run and its folder, over the YAML's.")] = None,
    runs: Runs = RUNS,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    retrain: Retrain = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="In the stead of the run that is there.")] = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Evolve an ensemble, from the YAML to the report."""
    loaded = load(problem, settings or (), name=name, retrain=retrain)
    folder = runs / loaded.config.name
    if dry_run:
        from evoens.commands.one_pass import measured  # noqa: PLC0415

        found = planned(loaded, folder, retrain)
        (printing.print_json if json else printing.print_facts)(found | measured(loaded, found, folder, retrain))
    else:
        session.refuse_existing(loaded, folder, overwrite)
        session.execute(loaded, folder, silent=quiet or json, retrain=retrain, overwrite=overwrite)
        printing.print_finished(folder, quiet=quiet, as_json=json)


@app.command()
def resume(folder: Folder, runs: Runs = RUNS, force: Force = False, quiet: Quiet = False, json: Json = False) -> None:
    """Go on with an interrupted run, to the same bits."""
    folder = session.run_folder(folder, runs)
    trained_here = (folder / "parent").is_dir()
    loaded = load(folder / RESOLVED, retrain=trained_here)
    session.execute(loaded, folder, silent=quiet or json, retrain=trained_here, force=force)
    printing.print_finished(folder, quiet=quiet, as_json=json)


@app.command()
def compare(
    paths: Annotated[list[str], typer.Argument(help="The YAML of a table, or its name; or folders of finished runs.")],
    *,
    methods: Annotated[str | None, typer.Option("--methods", help="Only these rows, parted by commas.")] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="0..2 or 0,3, over the YAML's.")] = None,
    settings: Settings = None,
    name: Annotated[str | None, typer.Option("--name", help="Of the table and its folder, over the YAML's.")] = None,
    runs: Runs = RUNS,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Set methods side by side at one budget; or finished runs."""
    from evoens.commands import compare as work  # noqa: PLC0415

    one = paths[0]
    if len(paths) > 1 or Path(one).is_dir():
        work.compare_runs(paths, runs, name, quiet=quiet, as_json=json)
    else:
        chosen = {"methods": methods, "seeds": seeds, "name": name}
        work.compare_methods(one, settings or (), runs, quiet=quiet, as_json=json, **chosen)


@app.command()
def train_parent(
    problem: Problem,
    *,
    settings: Settings = None,
    name: Annotated[str | None, typer.Option("--name", help="Of the run it is trained for, over the YAML's.")] = None,
    runs: Runs = RUNS,
    retrain: Retrain = False,
    force: Force = False,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Train a problem's parent, or go on training it."""
    loaded = load(problem, settings or (), name=name, retrain=True)
    checkpoint = loaded.config.parent.checkpoint
    there = find_parent(checkpoint, loaded.base)
    if there and not retrain:
        raise CheckpointError(f"{there}: expected no parent yet, found one; --retrain replaces it")
    path, card, said = session.train(loaded, runs, there or loaded.base / checkpoint, silent=quiet or json, force=force)
    if json:
        printing.print_json({"path": str(path), **card})
    else:
        printing.say(said)


@app.command()
def validate(
    problems: Annotated[list[str], typer.Argument(help="YAML files, or names of problems that ship.")],
    settings: Settings = None,
    data: Annotated[bool, typer.Option("--data", help="Open every image, too.")] = False,
    json: Json = False,
) -> None:
    """Check YAML files: every fault at once, with its place."""
    faults = validation.faults(problems, settings or (), data=data, silent=json)
    if json:
        printing.print_json({"ok": not faults, "faults": faults})
        raise typer.Exit(session.WRONG if faults else 0)
    if faults:
        raise ConfigError("\n".join(faults))


@app.command("list")
def list_(runs: Runs = RUNS, json: Json = False) -> None:
    """List problems, tables, strategies and runs."""
    found = inspection.everything(runs)
    if json:
        return printing.print_json(found)
    for title, (rows, columns) in inspection.listed(found, runs).items():
        printing.print_rows(title, rows, columns)
    return None


@app.command()
def inspect(
    path: Annotated[
        Path | None, typer.Argument(help="A run, an ensemble, a parent or other weights, a problem; a key.")
    ] = None,
    key: Annotated[str | None, typer.Argument(help="The first characters of a child's key: show that child.")] = None,
    *,
    explained: Annotated[bool, typer.Option("--explain", help="What keys of a YAML mean: all, or PATH alone.")] = False,
    runs: Runs = RUNS,
    json: Json = False,
) -> None:
    """Show a run, ensemble, parent, child, problem or key."""
    if explained:
        return printing.print_explained(explain(None if path is None else str(path)), as_json=json)
    if path is None:
        raise typer.BadParameter("Missing argument 'path'.")
    if path.suffix in (".yaml", ".yml") or (not path.exists() and str(path) in shipped_problems()):
        return _print_config(load(path), json)
    found = inspection.inspect(path if path.exists() else runs / path, key)
    return (printing.print_json if json else printing.print_facts)(found)


@app.command()
def report(folder: Folder, runs: Runs = RUNS) -> None:
    """Write a run's report.html anew, finished or not."""
    folder = session.run_folder(folder, runs)
    from evoens.report.page import write_report  # noqa: PLC0415

    printing.say(write_report(folder))


@app.command()
def verify(
    path: Annotated[Path | None, typer.Argument(help="A run or an ensemble; without one, the streams only.")] = None,
    trust: Annotated[bool, typer.Option("--trust", help="Run the code that the folder brings along.")] = False,
    json: Json = False,
) -> None:
    """Check published vectors, fingerprints and hashes."""
    from evoens.contract.verify import verify  # noqa: PLC0415

    _print_checks(verify(path, trust=trust), json)


@app.command()
def check(
    spec: Annotated[str, typer.Argument(help="path/to/file.py:Class, package.module:Class, or a name that ships.")],
    json: Json = False,
) -> None:
    """Run the contract over a Strategy of your own."""
    from evoens.contract.check import check_strategy  # noqa: PLC0415

    _print_checks(check_strategy(spec, [Path.cwd()]), json)


class Benchmark(str, Enum):
    """What can be measured."""

    population = "population"
    ppo = "ppo"
    noise = "noise"
    scope = "scope"
    train = "train"
    hashes = "hashes"
    features = "features"


@app.command()
def bench(what: Annotated[Benchmark, typer.Argument(help="What to measure.")], json: Json = False) -> None:
    """Measure speed against the plain way of doing the same."""
    keep_memory()
    module = importlib.import_module(f"evoens.bench.{what.value}")
    found = module.measure()
    (printing.print_json(found) if json else printing.show(module.describe(found)))


@app.command()
def play(
    folder: Folder,
    level: Annotated[int | None, typer.Option(help="The level's seed; else the first of the test split.")] = None,
    member: Annotated[str | None, typer.Option(help="parent, or the first characters of a member's key.")] = None,
    out: Annotated[Path | None, typer.Option(help="The GIF's path.")] = None,
    runs: Runs = RUNS,
) -> None:
    """Let an ensemble play a level, and write it as a GIF."""
    from evoens.report.play import play  # noqa: PLC0415

    printing.say(play(folder if folder.exists() else runs / folder, level=level, member=member, out=out))


@app.command()
def diversity(
    paths: Annotated[list[Path], typer.Argument(help="A run's folder or name; with --models, files of weights.")],
    *,
    models: Annotated[bool, typer.Option("--models", help="Compare networks from files, not a run's members.")] = False,
    problem: Annotated[str | None, typer.Option("--problem", help="With --models: the YAML they are for.")] = None,
    part: Annotated[list[str] | None, typer.Option("--part", help="Only this part; repeatable.")] = None,
    settings: Settings = None,
    runs: Runs = RUNS,
    quiet: Quiet = False,
    json: Json = False,
) -> None:
    """Lay out how members differ, for the page and TensorBoard."""
    from evoens.commands import diversity as work  # noqa: PLC0415

    words = settings or ()
    asked = work.models_asked(paths, runs, words, problem) if models else work.run_asked(paths, runs, words)
    found = work.diversity(asked, part or (), silent=quiet or json)
    if json:
        printing.print_json({name: part["figures"] for name, part in found.items()})
    elif quiet:
        printing.say(asked.folder / "report.html")


app.command()(pool)
app.command()(export)
app.command()(distill)


def _print_config(loaded: Loaded, json: bool) -> None:
    if json:
        printing.print_json(loaded.config.model_dump(mode="json", by_alias=True))
    else:
        printing.say(loaded.resolved, end="")


def _print_checks(checks: Sequence[Check], json: bool) -> None:
    printing.print_checks(checks, json)
    if not all(c.ok for c in checks):
        raise typer.Exit(session.FAILED)


main = app
