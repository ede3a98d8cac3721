"""From a YAML file and the command line to a checked Config, and on to a Run: every fault at once, with its place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import ValidationError

from evoens.config.checking import check
from evoens.config.faults import shown
from evoens.config.overrides import Override, parent_of_game
from evoens.config.shipped import find_problem, is_table
from evoens.config.shipped import shipped_problems as shipped_problems  # noqa: PLC0414 (asked for here too)
from evoens.config.yaml_file import Document, Keys, Mark, Trouble, dotted, dump_yaml, parse_yaml, read_yaml
from evoens.errors import CheckpointError, ConfigError, EvoensError, about
from evoens.plugins.guest import failure
from evoens.settings.config import Config
from evoens.settings.fault import Fault, related
from evoens.storage.card import find_parent

if TYPE_CHECKING:
    from evoens.experiment.run import Run
    from evoens.parent import Parent
    from evoens.report.console import Reporter
    from evoens.tasks.task import Task

RESOLVED = "config.resolved.yaml"
_BASE = "# Relative paths start from "


@dataclass(frozen=True, slots=True)
class Loaded:
    """A checked YAML: its relative paths start from `base`, and `line` says a fault with its place.

    `notes` say what follows from the command line beside what was asked for.
    """

    config: Config
    base: Path
    line: Callable[[Fault], str]
    notes: tuple[str, ...] = ()

    @property
    def resolved(self) -> str:
        """The whole config with its defaults, as YAML that loads back to the same."""
        return resolved_yaml(self.config, self.base)


def load(
    problem: str | Path,
    settings: Sequence[str] = (),
    *,
    name: str | None = None,
    retrain: bool = False,
    parent: bool = True,
) -> Loaded:
    """Read and check a problem, importing nothing heavy and writing nothing.

    Args:
        problem: a YAML file, or the plain name of one that ships or lies in `problems/` of the working folder.
        settings: `a.b=c` each, over the file.
        name: over the file's `name`.
        retrain: the parent is to be trained anew, so the one on disk does not matter.
        parent: there is to be a parent; else its weights are from elsewhere, and only the network matters.

    Raises:
        ConfigError: something is wrong; the message has one line for each fault.
    """
    path = find_problem(problem)
    if is_table(path):
        raise ConfigError(f"{short(path)}: expected a problem, found a table; python -m evoens compare makes it")
    troubles: list[Trouble] = []
    document = read_yaml(path, short(path), troubles)
    overrides, lines = parsed(settings)
    if name is not None:
        overrides.append(Override(("name",), name, f"--name {name}"))
    base = base_of(path)
    moved = parent_of_game(document.value, overrides)
    overrides += [moved] if moved else []
    config, faults = check(document, overrides, base, retrain=retrain, parent=parent)
    placed = [(trouble.mark, trouble.line) for trouble in troubles]
    for fault in faults:
        mark = document.mark(fault.keys)
        if not any(is_of(trouble, fault.keys, mark) for trouble in troubles):
            placed.append((mark, line_of(fault, document, overrides)))
    lines += [line for _, line in sorted(placed, key=lambda one: one[0])]
    if lines:
        raise ConfigError("\n".join(lines))
    notes = (_note(moved, base),) if moved else ()
    return Loaded(config, base, partial(line_of, document=document, overrides=overrides), notes)


def _note(moved: Override, base: Path) -> str:
    trained = "" if find_parent(moved.value, base) else ", which is trained first"
    return f"{moved.label}: the parent is {moved.value}{trained}"


def is_of(trouble: Trouble, keys: Keys, mark: Mark) -> bool:
    """Return whether a fault may only be there because of what is wrong with the text."""
    return mark.line == trouble.mark.line if trouble.keys is None else related(keys, trouble.keys)


class Placed(Protocol):
    """Whatever was read from a YAML, and knows where in it a fault is."""

    @property
    def line(self) -> Callable[[Fault], str]:
        """Says a fault with its place."""


@contextmanager
def located(loaded: Placed) -> Iterator[None]:
    """Say of an error about a value of the YAML where that value is.

    Raises:
        ConfigError: in the error's stead.
    """
    try:
        yield
    except EvoensError as error:
        if not error.keys:
            raise
        message = " ".join(str(error).split()).removeprefix(f"{dotted(error.keys)}: ")
        raise ConfigError(loaded.line(Fault(error.keys, message))) from error


def resolved_yaml(config: Config, base: Path) -> str:
    """Return the whole config with its defaults, as YAML that loads back to the same, from any folder."""
    return f"{_BASE}{base.resolve()}\n" + dump_yaml(_plain(config))


def base_of(path: Path) -> Path:
    """Return the folder of a YAML; of a resolved one, the folder of the YAML it came from."""
    first = path.read_text("utf-8", "replace").partition("\n")[0]
    return Path(first.removeprefix(_BASE)) if first.startswith(_BASE) else path.parent


def differences(config: Config, saved: Path) -> list[str]:
    """Return one line for each key in which the resolved YAML `saved` differs from `config`.

    Settings that there were not yet when it was written had their defaults.
    """
    whole = read_yaml(saved).value
    there, here = _flat(whole), _leaves(config)
    with suppress(ValidationError):  # settings that are no more: they are named as differences
        there = _leaves(type(config).model_validate(whole))
    keys = sorted(key for key in here.keys() | there.keys() if here.get(key) != there.get(key))
    return [f"{dotted(key)}: {shown(there.get(key))} there, {shown(here.get(key))} here" for key in keys]


def _leaves(config: Config) -> dict[Keys, Any]:
    return _flat(parse_yaml(dump_yaml(_plain(config)), "").value)


def _flat(value: Any, keys: Keys = ()) -> dict[Keys, Any]:
    if not isinstance(value, dict):
        return {keys: value}
    return {path: leaf for key, inner in value.items() for path, leaf in _flat(inner, (*keys, key)).items()}


def _plain(config: Config) -> dict[str, Any]:
    return config.model_dump(mode="json", by_alias=True)


def build(
    loaded: Loaded,
    folder: Path,
    reporter: Reporter,
    *,
    retrain: bool = False,
    force: bool = False,
    overwrite: bool = False,
) -> Run:
    """Load everything the run needs, training its parent first where there is none.

    With `overwrite` the run that is in the folder goes, once all that could be wrong is known to be right.

    Raises:
        EvoensError: the Strategy or the parent cannot be used; no folder is made then.
    """
    from evoens.experiment.run import Run  # noqa: PLC0415
    from evoens.experiment.setup import open_experiment  # noqa: PLC0415
    from evoens.report.listeners import standard  # noqa: PLC0415
    from evoens.storage.checkpoint import RunLock, clear  # noqa: PLC0415
    from evoens.tasks.task import trainer  # noqa: PLC0415

    config, base = loaded.config, loaded.base
    with located(loaded):
        task = prepared(loaded, reporter)[0]
        trains = retrain or find_parent(config.parent.checkpoint, base) is None
        if trains:
            trainer(task)
            begin(folder, loaded, overwrite)
        experiment = open_experiment(
            task, config, loaded.resolved, base, folder, listener=reporter, retrain=retrain, force=force
        )
        if overwrite and not trains:
            with RunLock(folder):
                clear(folder)
    return Run(experiment, folder, standard(reporter), force)


def prepared(loaded: Loaded, reporter: Reporter) -> tuple[Task, Parent]:
    """Return the task and its untrained parent, with a Strategy and a scope that fit; nothing is trained or written.

    Raises:
        EvoensError: one of them does not.
    """
    from evoens.experiment import setup  # noqa: PLC0415
    from evoens.tasks import open_task  # noqa: PLC0415

    config, base = loaded.config, loaded.base
    with located(loaded):
        task = open_task(config, base, reporter.preparation)
        try:
            cls = setup.open_strategy(config.strategy, base)[1]
            strategy = cls(**setup.strategy_arguments(cls, config.strategy))
        except BaseException as error:  # a user's constructor may raise anything
            raise ConfigError(str(failure(error, "the Strategy cannot be made")), ("strategy", "class")) from error
        setup.own_methods(config, base)
        search, parent = setup.open_search(config, base)[0], task.untrained()
        with about("strategy", "scope"):
            strategy = strategy.within(scope=setup.scope(config, parent), parent=parent)
        setup.require_search(search, strategy)
        return task, parent


def begin(folder: Path, loaded: Loaded, overwrite: bool = False) -> None:
    """Let a run that trains its own parent begin in its folder, which only one at a time can do.

    Raises:
        CheckpointError: another process is at work there, or another run has begun there meanwhile.
    """
    from evoens.storage.checkpoint import RunLock, clear  # noqa: PLC0415
    from evoens.storage.files import write_atomic  # noqa: PLC0415

    saved = folder / RESOLVED
    with RunLock(folder):
        if overwrite:
            clear(folder)
        if saved.is_file():
            if lines := differences(loaded.config, saved):
                found = "\n  ".join(["another, which has begun there meanwhile; choose --name for this one:", *lines])
                raise CheckpointError(f"{folder}: expected no run there yet, found {found}")
        else:
            write_atomic(saved, loaded.resolved)
        (folder / "parent").mkdir(exist_ok=True)  # by which `resume` knows that it is trained here


def short(path: Path) -> str:
    """Return how messages call a file: from the working folder, where it lies in there."""
    path = path.absolute()
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def parsed(settings: Sequence[str]) -> tuple[list[Override], list[str]]:
    """Return what `a.b=c` each sets, and a line for each that cannot be read."""
    overrides, lines = [], []
    for text in settings:
        try:
            overrides.append(Override.parse(text))
        except ConfigError as error:
            lines.append(str(error))
    return overrides, lines


def line_of(fault: Fault, document: Document, overrides: Sequence[Override]) -> str:
    """Return a fault with its place: the override that made it, or the line and column of the YAML."""
    for keys in (fault.keys, *fault.others):
        for override in reversed(overrides):
            if related(override.keys, keys):
                subject = "" if fault.keys == override.keys else f"{dotted(fault.keys)}: "
                return f"{override.label}: {subject}{fault.message}"
    written = next((keys for keys in (fault.keys, *fault.others) if keys in document.marks), fault.keys)
    return f"{document.place(written)}: {dotted(fault.keys) + ': ' if fault.keys else ''}{fault.message}"
