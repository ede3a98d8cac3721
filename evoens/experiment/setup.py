"""From a checked Config to an Experiment: the parent loaded, or trained where there is none, and the Strategy made."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from evoens.contract.check import broken
from evoens.errors import CheckpointError, SpecError, about, nearest
from evoens.experiment.state import Experiment
from evoens.listener import Listener
from evoens.methods.base import Method
from evoens.methods.compared import open_methods
from evoens.parent import Parent
from evoens.plugins.guest import guest
from evoens.plugins.spec import Located, load_class, locate
from evoens.problem import Problem
from evoens.report.written import Report
from evoens.scope import resolve
from evoens.search.base import Search
from evoens.search.elites import Elites
from evoens.search.es import EvolutionStrategy
from evoens.search.map_elites import MapElites
from evoens.search.nsga2 import NSGA2
from evoens.search.subspace import Subspace
from evoens.settings.base import ARCHIVE, PARETO, SUBSPACES
from evoens.settings.config import CELLS, DIMENSIONS, MEASURES, OBJECTIVES, Config, StrategySettings
from evoens.storage.card import find_parent
from evoens.strategy import Strategy
from evoens.tasks import own_files
from evoens.tasks.supervised import SupervisedTask
from evoens.tasks.task import Task, trainer
from evoens.tasks.task_spec import TaskSpec

FOLDERS = ("checkpoints", "distilled", "diversity", "independent", "pictures", "seen", "tb", "trainings", "tuned")
TAKEN = (*Report.__annotations__, *FOLDERS)
"""No Method's name: the keys of report.json, and the folders of a run."""


def open_experiment(
    task: Task,
    config: Config,
    resolved: str,
    base: Path,
    folder: Path,
    *,
    listener: Listener,
    retrain: bool = False,
    force: bool = False,
) -> Experiment:
    """Load everything a run needs.

    Args:
        task: what the config describes.
        config: the checked YAML.
        resolved: its text with every default filled in.
        base: the YAML's folder, from which relative paths start.
        folder: the run's folder; a parent that must be trained is trained in its `parent/`.
        listener: is told of the training.
        retrain: train even where the parent is there.
        force: go on with a training in spite of what has changed since.

    Raises:
        CheckpointError: the parent's file is damaged. SpecError: the Strategy cannot be used.
    """

    def pose() -> Posed:
        """Load the parent, trained first where it must be."""
        path = find_parent(config.parent.checkpoint, base)
        if retrain or path is None:
            path = _train(task, folder / "parent", listener, force)
        parent, card = task.load(path)
        problem = task.problem(parent)
        files = own_files(config.problem.type, base)
        spec = TaskSpec.of(config, base, path)
        own = task if isinstance(task, SupervisedTask) else None
        return Posed(problem, card, task.contents(), task.cautions(problem), task.unsure, files, spec, own)

    return experiment_on(pose, config, resolved, base)


class Posed(NamedTuple):
    """A problem with its parent, and what is known of both; see `Experiment`."""

    problem: Problem
    card: dict[str, Any]
    data: dict[str, str]
    cautions: Sequence[str]
    unsure: str = ""
    task_files: Mapping[str, str] = {}
    spec: TaskSpec | None = None
    task: SupervisedTask | None = None


def experiment_on(pose: Callable[[], Posed], config: Config, resolved: str, base: Path) -> Experiment:
    """Make the Strategy, see that it keeps its contract, and only then pose the problem; see `open_experiment`."""
    source, cls = open_strategy(config.strategy, base)
    arguments = strategy_arguments(cls, config.strategy)
    said = broken(cls, arguments)
    methods, (search, search_source) = own_methods(config, base), open_search(config, base)
    problem, card, data, cautions, unsure, files, spec, task = pose()
    strategy = cls(**arguments).within(scope=scope(config, problem.parent), parent=problem.parent)
    require_search(search, strategy)
    return Experiment(
        config,
        resolved,
        problem,
        strategy,
        source,
        arguments,
        parent_card=card,
        data=data,
        cautions=[*said, *cautions],
        unsure=unsure,
        methods=methods,
        task_files=files,
        search=search,
        search_source=search_source,
        spec=spec,
        task=task,
    )


def open_strategy(settings: StrategySettings, base: Path) -> tuple[Located, type[Strategy]]:
    """Locate and import the Strategy's class.

    Raises:
        SpecError: it is not there, does not import, or is no Strategy.
    """
    source = locate(settings.class_, [base, Path.cwd()])
    return source, load_class(source, Strategy)


def open_search(config: Config, base: Path) -> tuple[Callable[[Strategy], Search], Located | None]:
    """Return what makes who asks for children, and where a user's own comes from.

    Raises:
        SpecError: it is not there, or is no Search.
    """
    by = config.search.by
    if by == "elites":
        return Elites, None
    if by == "es":
        return EvolutionStrategy, None
    own = config.search
    if by == ARCHIVE:
        return partial(MapElites, measures=own.measures or MEASURES, cells=own.cells or CELLS), None
    if by == PARETO:
        objectives = own.objectives or OBJECTIVES
        return partial(NSGA2, objectives=objectives, dimensions=own.dimensions or DIMENSIONS), None
    if by in SUBSPACES:
        return partial(Subspace, algorithm=by, dimensions=config.search.dimensions or DIMENSIONS), None
    with about("search", "by"):
        source = locate(by, [base, Path.cwd()])
        return load_class(source, Search), source


def require_search(search: Callable[[Strategy], Search], strategy: Strategy) -> None:
    """Make the Search once, so that one that cannot search by this Strategy says so before anything is measured.

    Raises:
        SpecError: it cannot be made.
    """
    with about("search", "by"), guest("search.by: it cannot be made"):
        search(strategy)


def own_methods(config: Config, base: Path) -> list[tuple[Located, Method]]:
    """Import and make the Methods of a user's own that are compared too.

    Raises:
        SpecError: one is not there, is no Method, or has no name of its own.
    """
    with about("report", "methods"):
        return open_methods(config.report.methods, base, TAKEN)


def strategy_arguments(cls: type[Strategy], settings: StrategySettings) -> dict[str, Any]:
    """Return what the class is made with; σ is 1 until the trust-region search has found it.

    Raises:
        SpecError: a key of the YAML that the class does not take, or one it needs that is not there.
    """
    arguments = {"density": settings.density, "parts": settings.parts, **settings.extra}
    if cls.scaled:
        arguments = {"sigma": 1.0 if settings.sigma == "auto" else settings.sigma, **arguments}
    elif settings.sigma != "auto":
        raise SpecError(f"strategy.sigma: {cls.__name__} has no scale; expected none, found {settings.sigma}")
    signature = inspect.signature(cls)
    try:
        signature.bind(**arguments)
    except TypeError as error:
        takes = f"{cls.__name__} takes {', '.join(signature.parameters)}"
        for key in settings.extra:
            if key not in signature.parameters:
                hint = nearest(key, signature.parameters)
                raise SpecError(f"strategy.{key}: {takes}, and not this{hint}") from error
        raise SpecError(f"strategy: {takes}: {error}") from error
    return arguments


def scope(config: Config, parent: Parent) -> tuple[str, ...]:
    """Return the scope of the genes in `parent`'s tensors.

    Raises:
        SpecError: the parent has no such layer.
    """
    try:
        return resolve(config.strategy.scope, parent.perturbed)
    except SpecError as error:
        raise SpecError(f"strategy.scope: {error}") from error


def parent_of_run(folder: Path, config: Config, base: Path) -> Path:
    """Return where the parent of the run in `folder` is: trained there, or where the YAML says.

    Raises:
        CheckpointError: it is not there any more.
    """
    trained = folder / "parent" / "parent.safetensors"
    path = trained if trained.is_file() else find_parent(config.parent.checkpoint, base)
    if path is None:
        raise CheckpointError(f"{config.parent.checkpoint}: expected the run's parent, found none")
    return path


def _train(task: Task, folder: Path, listener: Listener, force: bool) -> Path:
    training = trainer(task)
    listener.on_stage(f"training a parent for {training.budget}")
    training.train(folder, listener.on_training, force)
    return training.export(folder, folder / "parent.safetensors")
