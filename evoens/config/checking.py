"""Checks of a YAML's value that import nothing heavy: each key alone, keys together, and the files they name."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evoens.config.classification_data import data_faults
from evoens.config.classifiers import classifier_faults, network_faults
from evoens.config.faults import Fault, faults_of, related, shown, unknown_key
from evoens.config.overrides import Override
from evoens.config.policies import policy_faults
from evoens.config.signature import read_signature
from evoens.config.yaml_file import Document, Keys, dotted
from evoens.errors import SpecError, nearest
from evoens.plugins.spec import locate
from evoens.settings import CONFIGS, config_type, parse_config
from evoens.settings.classification import ClassificationConfig
from evoens.settings.config import Config, StrategySettings
from evoens.settings.procgen import ProcgenConfig
from evoens.storage.card import find_parent


def check(
    document: Document, overrides: Sequence[Override], base: Path, *, retrain: bool = False, parent: bool = True
) -> tuple[Config, list[Fault]]:
    """Put the overrides over a YAML's value and find everything that is wrong with it.

    Args:
        document: the YAML.
        overrides: what the command line sets, later ones last.
        base: the folder from which relative paths start.
        retrain: the parent on disk is not to be used.
        parent: there is to be a parent.

    Returns:
        The config, in which defaults stand for what is wrong, and the faults; only without any is the config meant.
    """
    value, written = document.value, dict(document.written)
    if not isinstance(value, dict):
        found = "nothing" if value is None else shown(value)
        return parse_config(ProcgenConfig.sample), [
            Fault((), f"expected a mapping with {', '.join(Config.model_fields)}, found {found}")
        ]
    value = copy.deepcopy(value)
    faults = [fault for override in overrides if (fault := put(value, override))]
    for override in overrides:
        written = {keys: text for keys, text in written.items() if not related(keys, override.keys)}
        written |= {(*override.keys, *keys): text for keys, text in override.written.items()}
    if unknown := _unknown_problem(value):
        return parse_config(ProcgenConfig.sample), [*faults, unknown]
    config, wrong, gone = validated(config_type(value), value, written)
    faults += wrong
    code = (*_strategy_faults(config.strategy, base), *_method_faults(config.report.methods, base))
    for fault in (*code, *_task_faults(config, base, retrain, parent)):
        if not any(fault.touches(other) for other in gone):
            faults.append(fault)
    meant = {fault.meant for fault in faults}  # a misspelt key is one mistake, not an unknown key and a missing one
    return config, [fault for fault in faults if not (fault.missing and fault.keys in meant)]


def put(value: dict[str, Any], override: Override) -> Fault | None:
    """Put an override in its place; a section that is not there yet is made."""
    for depth, key in enumerate(override.keys[:-1], 1):
        if value.get(str(key)) is None:
            value[str(key)] = {}
        value = value[str(key)]
        if not isinstance(value, dict):
            return Fault(override.keys, f"expected a section at {dotted(override.keys[:depth])}, found {shown(value)}")
    value[str(override.keys[-1])] = override.value
    return None


def _unknown_problem(value: dict[str, Any]) -> Fault | None:
    """Return the fault of a type of problem that there is not: then nothing else can be checked."""
    problem = value.get("problem")
    kind = problem.get("type") if isinstance(problem, dict) else None
    if not isinstance(kind, str) or kind in CONFIGS:
        return None
    return Fault(
        ("problem", "type"), f"expected one of {', '.join(CONFIGS)}, found {shown(kind)}{nearest(kind, CONFIGS)}"
    )


def validated(
    kind: type[Config], value: dict[str, Any], written: Mapping[Keys, str]
) -> tuple[Config, list[Fault], list[Fault]]:
    """Validate until nothing more is found: what is wrong gives way to defaults, so that the rest is seen too.

    Returns:
        The config, what is wrong, and that together with what may only be there because of it.
    """
    faults, gone = list[Fault](), list[Fault]()
    while True:
        try:
            return kind.model_validate(value), faults, gone
        except ValidationError as error:
            found = faults_of(error, kind, value, written)
            faults += [fault for fault in found if not any(fault.follows(other) for other in gone)]
            for fault in found:
                taken = [_mend(value, keys, kind.sample) for keys in fault.about]
                gone.append(replace(fault, others=(*fault.others, *taken)))


def _mend(value: dict[str, Any], keys: Keys, samples: dict[str, Any]) -> Keys:
    """Take away what is at `keys`; where nothing is, the sample's value comes, or the section around goes.

    Returns:
        The keys of what is now another.
    """
    *around, last = (key for key in keys if isinstance(key, str))
    section: Any = value
    for key in around:
        section = section.get(key)
        if not isinstance(section, dict):  # gone already
            return keys
    if last in section:
        del section[last]
        return keys
    sample: Any = samples
    for key in (*around, last):
        sample = sample.get(key) if isinstance(sample, dict) else None
    if sample is not None:
        section[last] = copy.deepcopy(sample)
    elif around:
        return _mend(value, tuple(around), samples)
    return keys


def _strategy_faults(settings: StrategySettings, base: Path) -> Iterator[Fault]:
    """What the Strategy's source says: whether it is there, and which keys it takes."""
    try:
        signature = read_signature(locate(settings.class_, [base, Path.cwd()]))
    except SpecError as error:
        yield Fault(("strategy", "class"), str(error))
        return
    if signature is None:
        return
    name: Keys = ("strategy", "class")
    usual = {"sigma", "density", "parts"} if signature.scaled else {"density", "parts"}
    known, given = signature.arguments, {*usual, *settings.extra}
    if not signature.scaled and settings.sigma != "auto":
        message = f"{settings.class_} has no scale; expected none, found {settings.sigma}"
        yield Fault(("strategy", "sigma"), message, (name,))
    for key in sorted(settings.extra.keys() - known.keys()):
        fault = unknown_key(("strategy", key), [*known, "class", "scope"])
        yield fault if fault.meant == name else replace(fault, others=(name,))
    for key in sorted(k for k, needed in known.items() if needed and k not in given):
        yield Fault(("strategy", key), f"missing; {settings.class_} needs it", (name,), missing=True)
    for key in sorted(usual - known.keys()):
        yield Fault(name, f"expected a class that takes {key}, found one that takes {', '.join(known)}")


def _method_faults(specs: Sequence[str], base: Path) -> Iterator[Fault]:
    """Which of the Methods that are to be compared are not there."""
    for spec in specs:
        try:
            read_signature(locate(spec, [base, Path.cwd()]))
        except SpecError as error:
            yield Fault(("report", "methods"), str(error))


def _task_faults(config: Config, base: Path, retrain: bool, parent: bool) -> Iterator[Fault]:
    """What the files of the task say: the parent's, where it is there and is to be used, and the data's."""
    if isinstance(config, ProcgenConfig):
        yield from policy_faults(config, base, retrain or not parent)
    elif isinstance(config, ClassificationConfig):
        trains = parent and (retrain or find_parent(config.parent.checkpoint, base) is None)
        yield from data_faults(config, base, trains)
        yield from classifier_faults(config, base, retrain) if parent else network_faults(config, base)
