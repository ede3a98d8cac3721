"""Evolve a network from Python: a module and labelled tensors in, an ensemble out; the engine is that of a YAML."""

from __future__ import annotations

import json
import re
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from evoens.architecture import GivenModule, undisturbed
from evoens.config.checking import put, validated
from evoens.config.faults import Schema
from evoens.config.load import RESOLVED, resolved_yaml
from evoens.config.overrides import Override
from evoens.config.yaml_file import dotted
from evoens.ensemble import Ensemble, open_ensemble
from evoens.errors import CheckpointError, ConfigError, ProblemError, nearest
from evoens.experiment.run import Run
from evoens.experiment.setup import Posed, experiment_on
from evoens.known_code import Trust
from evoens.listener import RunEnd
from evoens.parent import Parent
from evoens.plugins.guest import guest, listening
from evoens.report.console import Reporter
from evoens.report.listeners import standard
from evoens.settings.fault import related
from evoens.settings.tensors import TensorConfig
from evoens.tasks.labelled import LabelledProblem
from evoens.tasks.tensors import Tensors, read_tensors, require_alike, seen_before

_FIXED = {"name", "problem", "problem.type", "strategy", "parent", "parent.checkpoint", "data", "data.root"}
_WHOLE = "backend."  # keys that are named with their section: `timeout` is that of `evaluation`


def evolve(
    model: nn.Module,
    *,
    search: Any,
    select: Any,
    test: Any,
    train: Any = None,
    strategy: str | Mapping[str, Any] = "noisy",
    folder: str | Path | None = None,
    quiet: bool = False,
    **settings: Any,
) -> Ensemble:
    """Evolve a trained classifier into an ensemble, and compare the two on inputs that neither has seen.

    Each split is inputs `(n, *input)` as the model takes them and their classes `(n,)`, as tensors or arrays, or a
    torch Dataset of such pairs, which is read once. The model must have learnt on none but `train`.

    Args:
        model: gives logits `(n, classes)`; it is copied, and stays as it is.
        search: by which children are scored.
        select: by which members are chosen, and temperatures fitted.
        test: on which parent, ensemble and others are compared; nothing is chosen by it.
        train: what children learn from, where `tune` says that they are trained.
        strategy: one that ships or `path/to/file.py:Class`; or a mapping, as in a YAML, `{"class": "sparse", ...}`.
        folder: of the run, which goes on there if it was interrupted, and leaves its page; None keeps nothing.
        quiet: say nothing but warnings.
        **settings: keys of a YAML by their plain names where only one section has them, as `population=32`,
            `generations=2`, `size=8`, `sigma=0.05`, `scope="auto"`, `seed=1`; sections as mappings, as
            `tune={"epochs": 1}`; all others with their section, as `**{"search.diversity": 0.1}`.
            `python -m evoens inspect --explain` says what they mean.

    Returns:
        The ensemble; its `report` is what the run's report.json holds, `report["verdict"]` in a sentence.

    Raises:
        ConfigError: a setting that there is not, or that has another type or range; all of them, a line each.
        ProblemError: a split is no such pair, or the model does not take its inputs.
        SpecError: the model cannot be copied, or there is no such Strategy.
        CheckpointError: the folder has something else in it.

    Example:
        ensemble = evoens.evolve(model, search=(x1, y1), select=(x2, y2), test=(x3, y3), population=32)
        probabilities = ensemble.predict(x)
    """
    config = _config(re.sub(r"\W|^_+", "", type(model).__name__, flags=re.ASCII) or "model", strategy, settings)
    given = {"train": train, "search": search, "select": select, "test": test}
    splits = {name: read_tensors(name, data) for name, data in given.items() if data is not None}
    require_alike(splits)
    _require_learnable(config, splits)
    temporary = tempfile.TemporaryDirectory(prefix="evoens-") if folder is None else None
    place = Path(temporary.name if temporary else str(folder))
    _require_free(place)
    with undisturbed(), listening(), _Console(quiet=quiet) as reporter:
        experiment = experiment_on(lambda: _posed(model, splits, config), config, resolved_yaml(config, Path()), Path())
        Run(experiment, place, [reporter] if temporary else standard(reporter)).execute()
    ensemble = open_ensemble(place, Trust.ALL, model)
    if temporary:
        weakref.finalize(ensemble, temporary.cleanup)  # members that were trained lie there
    return ensemble


class _Console(Reporter):
    """The console of a run from Python: commands that need its data again are not for it."""

    def on_report(self, event: RunEnd) -> None:
        """See `Listener`."""
        self.table(event.report)


def _posed(model: nn.Module, splits: Mapping[str, Tensors], config: TensorConfig) -> Posed:
    architecture = GivenModule.of_module(model)
    parent = Parent(architecture.build(), architecture)
    with guest("the model does not take its inputs", ProblemError):
        classes = parent.predict(splits["search"].part(0, 2).all()).shape[-1]
    problem = LabelledProblem(
        parent,
        splits,
        [str(number) for number in range(classes)],
        score=config.problem.score,
        members_by=config.problem.members_by,
        tuning=config.tune,
        seed=config.seed,
    )
    return Posed(problem, {}, {name: split.sha256() for name, split in splits.items()}, seen_before(splits))


def _require_learnable(config: TensorConfig, splits: Mapping[str, Tensors]) -> None:
    racing, count = config.search.racing, len(splits["search"])
    if racing is not None and racing.levels > count:
        raise ConfigError(f"search.racing.levels: expected at most {count}, as search= has, found {racing.levels}")
    if config.tune is not None and "train" not in splits:
        raise ConfigError("tune=: expected train=, which children learn from, found none")


def _require_free(folder: Path) -> None:
    if folder.exists() and not (folder / RESOLVED).is_file() and not (folder.is_dir() and not any(folder.iterdir())):
        raise CheckpointError(f"{folder}: expected no such folder yet, or a run's, found another")


# ---- keywords


def _config(name: str, strategy: str | Mapping[str, Any], settings: Mapping[str, Any]) -> TensorConfig:
    """Return the checked settings.

    Raises:
        ConfigError: with one line for each that is wrong.
    """
    own = _plain(dict(strategy) if isinstance(strategy, Mapping) else strategy, "strategy")
    known, lines = [path for path in Schema(TensorConfig).paths() if path not in _FIXED], list[str]()
    overrides = [Override(("strategy",), own if isinstance(own, dict) else {"class": own}, "strategy=")]
    for keyword, value in settings.items():
        try:
            keys = tuple(_path(keyword, known).split("."))
            overrides.append(Override(keys, _plain(value, keyword), f"{keyword}="))
        except ConfigError as error:
            lines.append(str(error))
    whole: dict[str, Any] = {"name": name}
    faults = [fault for override in overrides if (fault := put(whole, override))]
    config, wrong, _ = validated(TensorConfig, whole, {})
    for fault in (*faults, *wrong):
        label = next((o.label for o in reversed(overrides) if related(o.keys, fault.keys)), dotted(fault.keys))
        lines.append(f"{label}: {fault.message}")
    if lines:
        raise ConfigError("\n".join(lines))
    assert isinstance(config, TensorConfig)
    return config


def _path(keyword: str, known: list[str]) -> str:
    """Return the dotted key that a keyword means."""
    if keyword in known or ("." in keyword and keyword not in _FIXED):
        return keyword
    found = [path for path in known if path.rpartition(".")[2] == keyword and not path.startswith(_WHOLE)]
    if len(found) == 1:
        return found[0]
    if found:
        raise ConfigError(f"{keyword}=: expected one of {', '.join(found)}, as **{{{found[0]!r}: …}}, found no section")
    names = sorted({path.rpartition(".")[2] for path in known})
    raise ConfigError(f"{keyword}=: expected a setting of a YAML, found none of this name{nearest(keyword, names)}")


def _plain(value: Any, keyword: str) -> Any:
    """Return a value as reading a YAML gives it, lists as tuples."""
    try:
        return _frozen(json.loads(json.dumps(value)))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{keyword}=: expected what a YAML can hold, found {type(value).__name__}") from error


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _frozen(one) for key, one in value.items()}
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
