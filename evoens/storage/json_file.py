"""Files of JSON, read whole or refused with a reason: half-written, mistyped or absurd, it is one CheckpointError."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from evoens.errors import CheckpointError, one_line


def read_json(path: Path, what: str, kind: Any = dict[str, Any]) -> dict[str, Any]:
    """Return the JSON object in a file, as it stands there.

    Args:
        path: the file.
        what: it is expected to be, as `a parent's card`.
        kind: the type it is to have; of a TypedDict only the keys that it names are looked at.

    Raises:
        CheckpointError: there is none, or it is something else; the message says what is wrong, and where in it.
    """
    return parse_json(_bytes(path, what), path, what, kind)


def read_rows(path: Path, what: str, kind: Any = dict[str, Any]) -> list[dict[str, Any]]:
    """Return the JSON objects of a file that has one a line; see `read_json`."""
    lines = _bytes(path, what).splitlines()
    return [parse_json(line, f"{path}:{number}", what, kind) for number, line in enumerate(lines, 1)]


def parse_json(data: bytes, place: object, what: str, kind: Any = dict[str, Any]) -> dict[str, Any]:
    """Return the JSON object that is in `data`, which is from `place`; see `read_json`."""
    try:
        found: dict[str, Any] = json.loads(data)
        _checker(kind).validate_python(found, strict=True)
    except RecursionError as error:
        raise CheckpointError(f"{place}: expected {what}, found damage: it is nested too deeply") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        why = f"{where}: {first['msg'][:1].lower()}{first['msg'][1:]}" if where else f"no object, {first['msg']}"
        raise CheckpointError(f"{place}: expected {what}, found damage: {why}") from error
    except (ValueError, OverflowError) as error:  # no JSON, no UTF-8, a number of thousands of digits
        why = str(error).partition(";")[0]
        raise CheckpointError(f"{place}: expected {what}, found damage: {why}") from error
    return found


@contextmanager
def as_written(place: object, what: str) -> Iterator[None]:
    """Say of an error within, which comes of contents that evoens does not write, that `place` is damaged.

    Raises:
        CheckpointError: in the error's stead.
    """
    try:
        yield
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise CheckpointError(f"{place}: expected {what}, found damage ({one_line(error)})") from error


def _bytes(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: expected {what}, found no such file") from error
    except OSError as error:
        raise CheckpointError(f"{path}: expected {what}, found what cannot be read: {error.strerror}") from error


@cache
def _checker(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
