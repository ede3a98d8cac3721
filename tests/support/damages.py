"""Thirty states of damage of a file of JSON, for the tests that let commands read them."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OTHER: tuple[Any, ...] = (
    *("text", "\ud800", "\0", [], {}, None, -1, 10**400, float("inf"), float("nan"), [["x"]], True),
)


def places(value: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value within."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*way, key)
        yield from places(inner, (*way, key))


def mistyped(value: Any, draw: random.Random) -> Any:
    """The same with something else in one place, or with a key less."""
    value = copy.deepcopy(value)
    *around, last = draw.choice(list(places(value)))
    inner = value
    for key in around:
        inner = inner[key]
    if draw.random() < 0.2:
        del inner[last]
    else:
        inner[last] = draw.choice(OTHER)
    return value


def damages(file: Path, seed: int) -> Iterator[bytes]:
    """Thirty of them."""
    draw, data = random.Random(seed), file.read_bytes()
    yield from (b"", b"null", b"[]", b"5", b'"x"', b"{}", b"\xff" * 9, b"\x00" * 9, b"[" * 100_000, b'{"a":' * 100_000)
    yield b'{"step": ' + b"9" * 5000 + b"}"
    yield from (data[: draw.randrange(len(data))] for _ in range(4))
    lines = data.decode().splitlines() if file.suffix == ".jsonl" else [data.decode()]
    for _ in range(15):
        place = draw.randrange(len(lines))
        wrong = json.dumps(mistyped(json.loads(lines[place]), draw))
        yield "\n".join([*lines[:place], wrong, *lines[place + 1 :]]).encode()
