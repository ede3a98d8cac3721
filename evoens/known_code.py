"""Which code an ensemble's description may have run: evoens's, torchvision's, and files in its folder as they were."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import Flag, auto
from pathlib import Path, PurePosixPath
from typing import Any

from evoens.architecture import TORCHVISION, Architecture
from evoens.errors import SpecError
from evoens.plugins.own_code import Code, is_source, read_code, source_sha256
from evoens.plugins.spec import STRATEGIES, Located, locate


class Trust(Flag):
    """What may be run besides."""

    NOTHING = 0
    PACKAGES = auto()
    CHANGED = auto()
    ALL = PACKAGES | CHANGED


_TOLD = "trust=True (--trust)"
_OWN_NETWORK = re.compile(r"evoens\.tasks\.networks\.\w+")
_SHIPPED = re.compile(rf"\w+|{STRATEGIES}\.\w+:\w+")


def known_architecture(folder: Path, document: Mapping[str, Any], trust: Trust) -> Architecture:
    """Return the architecture of a description, its files read and compared with their hashes; nothing is run.

    Args:
        folder: of the ensemble.
        document: what describes the ensemble.
        trust: what else is taken.

    Raises:
        SpecError: a file is missing or has changed, or it is none of the folder; or a package is to be imported.
    """
    architecture = Architecture(**document["architecture"])
    place, _, name = architecture.target.rpartition(":")
    if architecture.own:
        code = _code(folder, place, architecture.sha256, architecture.helpers, trust)
        return Architecture.of(code, name, architecture.arguments)
    if architecture.given or Trust.PACKAGES in trust or _OWN_NETWORK.fullmatch(place):
        return architecture
    if place != TORCHVISION:
        raise SpecError(_package(folder, architecture.target))
    if any(value for key, value in architecture.arguments.items() if key.startswith(("weights", "pretrained"))):
        raise SpecError(f"{folder}: {architecture.target} would download weights; {_TOLD} lets it")
    return architecture


def known_strategy(folder: Path, document: Mapping[str, Any], trust: Trust) -> Located:
    """Return where the Strategy of a description is, its file compared with its hash; nothing is run.

    Args:
        folder: of the ensemble.
        document: what describes the ensemble.
        trust: what else is taken.

    Raises:
        SpecError: as `known_architecture`.
    """
    row = document["strategy"]
    spec, sha256 = row["spec"], row["sha256"]
    place, _, name = spec.rpartition(":")
    if place.endswith(".py"):
        return Located.of(spec, _code(folder, place, sha256, row.get("helpers", {}), trust), name)
    if Trust.PACKAGES not in trust and not _SHIPPED.fullmatch(spec):
        raise SpecError(_package(folder, spec))
    found = locate(spec)
    if found.sha256 != sha256 and Trust.CHANGED not in trust:
        raise SpecError(_changed(f"{folder}: the Strategy {spec}", sha256, found.sha256))
    return found


def strangers(document: Mapping[str, Any]) -> list[str]:
    """Return what a description names that is not evoens's or torchvision's: loading the ensemble runs it."""
    spec, target = str(document["strategy"]["spec"]), str(document["architecture"]["target"])
    place = target.rpartition(":")[0]
    network = () if _OWN_NETWORK.fullmatch(place) or place == TORCHVISION else (target,)
    return [*network, *(() if _SHIPPED.fullmatch(spec) else (spec,))]


def _code(folder: Path, place: str, sha256: str | None, helpers: Mapping[str, str], trust: Trust) -> Code:
    """Read a file of the folder and its helpers."""
    path = PurePosixPath(place)
    around, files = folder / path.parent, {path.name: sha256, **helpers}
    for name in (place, *files):
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise SpecError(f"{folder}: expected a file of this folder, found {name}")
    if missing := [name for name in files if not (around / name).is_file()]:
        raise SpecError(f"{folder}: expected a Python file, found none at {around / missing[0]}")
    if Trust.CHANGED in trust:
        return read_code(around / path.name)
    read = {name: (around / name).read_bytes() for name in files}
    for name, expected in files.items():
        if not is_source(read[name], expected):
            raise SpecError(_changed(str(around / name), expected, source_sha256(read[name])))
    return Code(around / path.name, read)


def _changed(what: str, expected: str | None, found: str) -> str:
    return (
        f"{what} has changed: expected sha256 {str(expected)[:16]}…, found {found[:16]}…; {_TOLD} runs it all the same"
    )


def _package(folder: Path, name: str) -> str:
    return (
        f"{folder}: expected code of evoens, of torchvision.models or of this folder, found {name}; {_TOLD} imports it"
    )
