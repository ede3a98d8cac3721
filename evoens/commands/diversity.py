"""The command that analyses diversity: of a run, or of any networks of one architecture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from evoens.commands import session
from evoens.config.load import RESOLVED, Loaded, load, located
from evoens.errors import CheckpointError, ConfigError, nearest
from evoens.machine.allocator import keep_memory
from evoens.settings.diversity import PARTS, DiversitySettings


class Asked(NamedTuple):
    """What is to be analysed: the checked YAML, the folder of the results, and files of weights where it is no run."""

    loaded: Loaded
    folder: Path
    models: tuple[Path, ...]


def run_asked(paths: Sequence[Path], runs: Path, settings: Sequence[str]) -> Asked:
    """Return the one run that `paths` name.

    Raises:
        ConfigError: they are not one path, or a setting is wrong. CheckpointError: there is no such run.
    """
    if len(paths) != 1:
        raise ConfigError(f"expected one run, found {len(paths)}; files of weights go with --models and --problem")
    folder = session.run_folder(paths[0], runs)
    return Asked(load(folder / RESOLVED, settings, retrain=(folder / "parent").is_dir()), folder, ())


def models_asked(paths: Sequence[Path], runs: Path, settings: Sequence[str], problem: str | None) -> Asked:
    """Return the files of weights that `paths` name, for the networks of `problem`.

    Raises:
        ConfigError: there is no problem, or its YAML is wrong. CheckpointError: a file is not there.
    """
    if problem is None:
        raise ConfigError("--models: expected --problem beside it, the YAML that says what the networks are")
    missing = [str(path) for path in paths if not path.is_file()]
    if missing:
        raise CheckpointError(f"{missing[0]}: expected a file of weights, found none")
    loaded = load(problem, settings, parent=False)
    return Asked(loaded, runs / f"{loaded.config.name}-diversity", tuple(paths))


def chosen(loaded: Loaded, parts: Sequence[str]) -> DiversitySettings:
    """Return the YAML's settings with these parts, if there are any, in the place of its own.

    Raises:
        ConfigError: there is no such part.
    """
    for part in parts:
        if part not in PARTS:
            raise ConfigError(f"--part: expected one of {', '.join(PARTS)}, found {part}{nearest(part, PARTS)}")
    settings = loaded.config.diversity
    return settings.model_copy(update={"parts": tuple(parts)}) if parts else settings


def diversity(asked: Asked, parts: Sequence[str], *, silent: bool) -> dict[str, Any]:
    """Analyse what was asked for; what is there already is not done again. Return what was found, by part."""
    settings, loaded = chosen(asked.loaded, parts), asked.loaded
    keep_memory()
    from evoens.analysis.analyse import FOLDER, analyse  # noqa: PLC0415 (torch, scikit-learn and captum)
    from evoens.analysis.subject import of_models, of_run  # noqa: PLC0415
    from evoens.report.console import Reporter  # noqa: PLC0415
    from evoens.tasks import open_task  # noqa: PLC0415

    config, base, folder = loaded.config, loaded.base, asked.folder
    with (
        session.interruptible(session.this_command(), folder / FOLDER),
        Reporter(quiet=silent) as reporter,
        session.said_by(reporter),
        located(loaded),
    ):
        task = open_task(config, base, reporter.preparation)
        models = asked.models
        subject = of_models(task, models, config.seed) if models else of_run(task, config, base, folder)
        found = analyse(subject, settings, folder, reporter, loaded.resolved if models else "")
        if not silent:
            tb = f"tensorboard --logdir {folder / 'tb'}"
            reporter.next_commands([f"open {folder / 'report.html'} in a browser", tb])
    return found
