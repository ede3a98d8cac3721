"""The classes of a data set, in the order in which the network has them."""

from __future__ import annotations

from collections.abc import Sequence

from evoens.errors import ProblemError, nearest
from evoens.tasks.data.folders import listed

_KEYS = ("problem", "classes")


def arranged(
    found: Sequence[str], order: Sequence[str] | None, where: str, allow_missing: bool = False
) -> tuple[str, ...]:
    """Return the classes that are there in the order that is asked for; as they are where none is.

    Args:
        found: their names.
        order: `problem.classes`.
        where: begins a message.
        allow_missing: `order` may name classes that have no image at all.

    Raises:
        ProblemError: `order` lacks a class, or names one that is not there.
    """
    if order is None:
        return tuple(found)
    unknown = [] if allow_missing else [name for name in order if name not in found]
    if unknown:
        hint = nearest(unknown[0], found) or f"; there are {listed(found)}"
        message = f'expected the classes of {where}, found "{unknown[0]}"{hint}'
        raise ProblemError(f"problem.classes: {message}", _KEYS)
    if lacking := [name for name in found if name not in order]:
        expected = f"expected all {len(found)} classes of {where}"
        raise ProblemError(f"problem.classes: {expected}, found none called {listed(lacking)}", _KEYS)
    return tuple(order)
