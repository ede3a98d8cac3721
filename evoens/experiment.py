"""From a checked Config to an Experiment: the parent loaded, or trained where there is none, and the Strategy made."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from evoens.card import find_parent
from evoens.console import Reporter
from evoens.errors import SpecError, nearest
from evoens.parent import Architecture, Parent
from evoens.run import Experiment
from evoens.scope import resolve
from evoens.settings import Config, StrategySettings
from evoens.spec import Located, load_class, locate
from evoens.strategy import Strategy
from evoens.tasks.networks.impala import ImpalaPolicy
from evoens.tasks.ppo import export_from, load_policy, train_parent
from evoens.tasks.procgen import ProcgenProblem


def open_experiment(
    config: Config, resolved: str, base: Path, folder: Path, *, reporter: Reporter, retrain: bool = False
) -> Experiment:
    """Load everything a run needs.

    Args:
        config: the checked YAML.
        resolved: its text with every default filled in.
        base: the YAML's folder, from which relative paths start.
        folder: the run's folder; a parent that must be trained is trained in its `parent/`.
        reporter: is told of the training.
        retrain: train even where the parent is there.

    Raises:
        CheckpointError: the parent's file is damaged. SpecError: the Strategy cannot be used.
    """
    source, cls = open_strategy(config.strategy, base)
    arguments = strategy_arguments(cls, config.strategy)
    path = find_parent(config.parent.checkpoint, base)
    if retrain or path is None:
        path = _train(config, folder / "parent", reporter)
    module, card = load_policy(path)
    parent = Parent(module, Architecture(**card["architecture"]))
    problem = ProcgenProblem(config.problem, parent, config.seed)
    strategy = cls(**arguments)
    strategy.scope = scope(config, parent)
    return Experiment(config, resolved, problem, strategy, source, arguments, card)


def open_strategy(settings: StrategySettings, base: Path) -> tuple[Located, type[Strategy]]:
    """Locate and import the Strategy's class.

    Raises:
        SpecError: it is not there, does not import, or is no Strategy.
    """
    source = locate(settings.class_, [base, Path.cwd()])
    return source, load_class(source, Strategy)


def strategy_arguments(cls: type[Strategy], settings: StrategySettings) -> dict[str, Any]:
    """Return what the class is made with; σ is 1 until the trust-region search has found it.

    Raises:
        SpecError: a key of the YAML that the class does not take, or one it needs that is not there.
    """
    sigma = 1.0 if settings.sigma == "auto" else settings.sigma
    arguments = {"sigma": sigma, "density": settings.density, "parts": settings.parts, **settings.extra}
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


def scope(config: Config, parent: Parent | None = None) -> tuple[str, ...]:
    """Return the scope of the genes in `parent`'s tensors; without one, in those of the parent that would be trained.

    Raises:
        SpecError: the parent has no such layer.
    """
    if parent is None:
        policy = ImpalaPolicy(config.parent.train.network, 3 * config.problem.frame_stack)
        parent = Parent(policy, Architecture("evoens.tasks.networks.impala:ImpalaPolicy"))
    try:
        return resolve(config.strategy.scope, parent.perturbed)
    except SpecError as error:
        raise SpecError(f"strategy.scope: {error}") from error


def _train(config: Config, folder: Path, reporter: Reporter) -> Path:
    reporter.stage(f"training a parent for {config.parent.train.steps:,} steps")
    train_parent(config.parent.train, config.problem, config.seed, folder, on_progress=reporter.training)
    return export_from(folder, folder / "parent.safetensors")
