"""Which Methods a run compares: those that are always there, and those of a user's own by their spec."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from evoens.errors import SpecError
from evoens.methods.base import Method
from evoens.methods.best_child import BestChild
from evoens.methods.evolved import EvolvedEnsemble
from evoens.methods.independent import Independent
from evoens.methods.parent import ParentAlone
from evoens.methods.random_children import RandomChildren
from evoens.methods.seen import Seen
from evoens.methods.soup import Soup
from evoens.methods.tempered import Tempered
from evoens.methods.trained_on import OneChild, TrainedOn
from evoens.plugins.guest import guest
from evoens.plugins.spec import Located, load_class, locate


def compared(further: Sequence[Method] = ()) -> list[Method]:
    """Return all Methods of a comparison, in the order of its table: `further` ones come before the ensemble."""
    alone, evolved = [ParentAlone(), Tempered("parent")], [EvolvedEnsemble(), Tempered("ensemble")]
    trained = [TrainedOn(), OneChild(), Soup()]
    return [*alone, BestChild(), RandomChildren(), *trained, *further, *evolved, Independent(), Seen()]


def open_methods(specs: Sequence[str], base: Path, taken: Sequence[str]) -> list[tuple[Located, Method]]:
    """Import and make a user's own Methods.

    Args:
        specs: `my.py:Class` or `package.module:Class` each.
        base: the folder that relative paths start from.
        taken: names that none of them may have.

    Raises:
        SpecError: one cannot be had, or has no name of its own.
    """
    found = list[tuple[Located, Method]]()
    for spec in specs:
        source = locate(spec, [base, Path.cwd()])
        cls = load_class(source, Method)
        with guest(f'"{spec}" cannot be made'):
            method: Method = cls()
            name = getattr(method, "name", None)
        names = {*taken, *(own.name for _, own in found)}
        if not isinstance(name, str) or not re.fullmatch("[a-z][a-z0-9_]*", name) or name in names:
            expected = "a name of its own, of small letters, digits and _, that report.json uses for nothing else"
            raise SpecError(f'"{spec}": expected {expected}, found {name!r}')
        found.append((source, method))
    return found
