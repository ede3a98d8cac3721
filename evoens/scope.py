"""Scope: which of a network's tensors a gene touches, by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from evoens.errors import SpecError, nearest

NOT = "not "  # before an entry: a name has no space
AUTO = "auto"  # in a YAML, for the layer that a search finds


def touches(scope: Sequence[str], name: str) -> bool:
    """Whether `scope` holds the tensor `name`: a scope lists tensors, layers with all that is in them, and patterns.

    `trunk.linear` holds `trunk.linear.weight`, and so does `trunk.*`; an empty scope holds every tensor. `not head`
    takes out what `head` holds, of the other entries or, where there are none, of all.
    """
    out = [one.removeprefix(NOT) for one in scope if one.startswith(NOT)]
    held = [one for one in scope if not one.startswith(NOT)]
    return (not held or _holds(held, name)) and not _holds(out, name)


def _holds(entries: Sequence[str], name: str) -> bool:
    return any(name == one or name.startswith(f"{one}.") or fnmatchcase(name, one) for one in entries)


def resolve(wanted: str | Sequence[str] | Mapping[Any, str] | None, names: Sequence[str]) -> tuple[str, ...]:
    """Return the scope that a YAML asks for, in a network whose tensors `names` may be perturbed.

    Args:
        wanted: one entry of a scope, or several; `{"from": layer}` for the layer and all after it; None for everything,
            and so is "auto" until the search.
        names: in the order in which the network uses them.

    Raises:
        SpecError: an entry that holds no tensor.
    """
    if wanted is None or wanted == AUTO:
        return ()
    if isinstance(wanted, Mapping):
        return tuple(names[names.index(_held(wanted["from"], names)[0]) :])
    entries = (wanted,) if isinstance(wanted, str) else tuple(wanted)
    for entry in entries:
        _held(entry.removeprefix(NOT), names)
    return entries


def _held(entry: str, names: Sequence[str]) -> list[str]:
    held = [name for name in names if touches([entry], name)]
    if not held:
        layers = dict.fromkeys(name.rpartition(".")[0] or name for name in names)
        raise SpecError(f'expected a layer of the parent, found "{entry}"{nearest(entry, layers)}')
    return held
