"""Checks of a YAML's value that import nothing heavy: each key alone, keys together, and the files they name."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evoens.config.faults import faults_of, shown, unknown_key
from evoens.config.overrides import Override
from evoens.config.yaml_file import Document, Keys, dotted
from evoens.errors import SpecError
from evoens.plugins.guest import guest
from evoens.plugins.signature import read_signature
from evoens.plugins.spec import locate
from evoens.settings.base import ARCHIVE, NO_RIBS, SCALING, SEARCHES
from evoens.settings.config import Config
from evoens.settings.fault import Fault, related
from evoens.tasks import named_type, task_type
from evoens.tasks.task_type import TaskType

_SAMPLE = Config.model_validate({**Config.sample, "problem": {"type": "sample"}})
"""What stands in for settings that cannot be read."""


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
        return _SAMPLE, [Fault((), f"expected a mapping with {', '.join(Config.model_fields)}, found {found}")]
    value = copy.deepcopy(value)
    faults = [fault for override in overrides if (fault := put(value, override))]
    for override in overrides:
        written = {keys: text for keys, text in written.items() if not related(keys, override.keys)}
        written |= {(*override.keys, *keys): text for keys, text in override.written.items()}
    try:
        kind = task_type(named_type(value), base)
    except SpecError as error:  # then nothing else can be checked
        return _SAMPLE, [*faults, Fault(("problem", "type"), str(error))]
    config, wrong, gone = validated(kind.settings, value, written)
    faults += wrong
    code = (*_strategy_faults(config, base), *_class_faults(config, base))
    for fault in (*code, *_task_faults(kind, config, base, retrain, parent)):
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


def validated(
    kind: type[Config], value: dict[str, Any], written: Mapping[Keys, str]
) -> tuple[Config, list[Fault], list[Fault]]:
    """Validate until nothing more is found: what is wrong gives way to defaults, so that the rest is seen too.

    Where there is no sample of what must be given, nothing more can be.

    Returns:
        The config, what is wrong, and that together with what may only be there because of it.
    """
    faults, gone, tried = list[Fault](), list[Fault](), list[Any]()
    samples = {**kind.sample, "problem": {"type": named_type(value), **kind.sample.get("problem", {})}}
    while True:
        try:
            return kind.model_validate(value), faults, gone
        except ValidationError as error:
            if value in tried:
                return _SAMPLE, faults, gone
            tried.append(copy.deepcopy(value))
            found = faults_of(error, kind, value, written)
            faults += [fault for fault in found if not any(fault.follows(other) for other in gone)]
            for fault in found:
                taken = [_mend(value, keys, samples) for keys in fault.about]
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


def _strategy_faults(config: Config, base: Path) -> Iterator[Fault]:
    """What the Strategy's source says: whether it is there, which keys it takes, and whether it can be searched by."""
    settings, by = config.strategy, config.search.by
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
    if not signature.scaled and by in SCALING:
        message = f"{settings.class_} has no scale to search by; expected elites, found {by}"
        yield Fault(("search", "by"), message, (name,))
    for key in sorted(settings.extra.keys() - known.keys()):
        fault = unknown_key(("strategy", key), [*known, "class", "scope"])
        yield fault if fault.meant == name else replace(fault, others=(name,))
    for key in sorted(k for k, needed in known.items() if needed and k not in given):
        yield Fault(("strategy", key), f"missing; {settings.class_} needs it", (name,), missing=True)
    for key in sorted(usual - known.keys()):
        yield Fault(name, f"expected a class that takes {key}, found one that takes {', '.join(known)}")


def _class_faults(config: Config, base: Path) -> Iterator[Fault]:
    """Which of a user's own classes, a Search and Methods, are not there; and a package that a search needs."""
    if config.search.by == ARCHIVE and find_spec("ribs") is None:
        yield Fault(("search", "by"), NO_RIBS)
    named: list[tuple[Keys, str]] = [(("report", "methods"), spec) for spec in config.report.methods]
    if config.search.by not in SEARCHES:
        named.append((("search", "by"), config.search.by))
    for keys, spec in named:
        try:
            read_signature(locate(spec, [base, Path.cwd()]))
        except SpecError as error:
            yield Fault(keys, str(error))


def _task_faults(kind: type[TaskType], config: Config, base: Path, retrain: bool, parent: bool) -> list[Fault]:
    """What the task itself finds wrong, with its settings or the files that they name."""
    if not isinstance(config, kind.settings):
        return []
    try:
        with guest(f"the checks of {config.problem.type} have failed"):
            return list(kind.faults(config, base, retrain=retrain, parent=parent))
    except SpecError as error:
        return [Fault(("problem", "type"), str(error))]
