"""YAML as people mean it: `5e-4` is a number, `no` is text, nothing is given twice, and every key's place is known."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from evoens.errors import ConfigError
from evoens.settings.fault import Keys as Keys  # noqa: PLC0414 (asked for here too)

DEEPEST = 32
"""Levels of nesting; no file for people has more."""

DIGITS = 100
"""Digits of an integer; no number for people has more, and thousands cannot even be shown."""
LONGEST = 40  # characters of a value that a message shows

_TAG = "tag:yaml.org,2002:"
# The scalars of YAML 1.2's core schema (10.3.2); anything else is text.
_SCALARS = (
    ("null", re.compile(r"~|null|Null|NULL|"), ["~", "n", "N", ""]),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), list("tTfF")),
    ("int", re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+"), list("-+0123456789")),
    (
        "float",
        re.compile(
            r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
        ),
        list("-+.0123456789"),
    ),
)


class Mark(NamedTuple):
    """A place in a file, counted from 1."""

    line: int
    column: int


class Trouble(NamedTuple):
    """Something wrong with the text itself: where, at which key (None where that is not known), and how it is said."""

    mark: Mark
    keys: Keys | None
    line: str


@dataclass(frozen=True, slots=True)
class Document:
    """A YAML file's value (lists as tuples), the place of every key and list item in it, and how it was written.

    `written` has the text of what stands there without quotes and is no text: numbers, `true`, `false`.
    """

    name: str
    value: Any
    marks: dict[Keys, Mark] = field(default_factory=dict)
    written: dict[Keys, str] = field(default_factory=dict)

    def mark(self, keys: Keys) -> Mark:
        """Return the place of `keys`, or of the nearest thing around them that is there."""
        while keys and keys not in self.marks:
            keys = keys[:-1]
        return self.marks.get(keys, Mark(1, 1))

    def place(self, keys: Keys) -> str:
        """Return `file:line:column` of `keys`, or of the nearest thing around them that is there."""
        return _place(self.name, self.mark(keys))


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 (PyYAML's name and form)

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Compose one node; an alias is refused, since its value would have two places."""
        if self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(
                problem=f"expected a value, found the alias *{event.anchor}; write the value out",
                problem_mark=event.start_mark,
            )
        return super().compose_node(parent, index)


class _Dumper(yaml.SafeDumper):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> ScalarNode:
        """Quote what holds one of Unicode's line breaks, which PyYAML would write, and read back as a space."""
        return self.represent_scalar(f"{_TAG}str", data, style='"' if set(data) & set("\x85\u2028\u2029") else None)


_Dumper.add_representer(str, _Dumper.represent_str)

for _name, _pattern, _first in _SCALARS:
    # PyYAML matches at the start only: the whole scalar must fit.
    _whole = re.compile(f"(?:{_pattern.pattern})\\Z")
    _Loader.add_implicit_resolver(_TAG + _name, _whole, _first)
    _Dumper.add_implicit_resolver(_TAG + _name, _whole, _first)


def read_yaml(path: Path, name: str | None = None, troubles: list[Trouble] | None = None) -> Document:
    """Read the YAML file at `path`; `name` is what messages call it, and `troubles` as for `parse_yaml`.

    Raises:
        ConfigError: the file cannot be read or is no YAML; every key given twice is named with its place.
    """
    name = name or str(path)
    try:
        return parse_yaml(path.read_bytes(), name, troubles)
    except FileNotFoundError as error:
        raise ConfigError(f"{name}: expected a YAML file, found none") from error
    except OSError as error:
        raise ConfigError(f"{name}: expected a YAML file, found one that cannot be read: {error.strerror}") from error


def parse_yaml(text: str | bytes, name: str, troubles: list[Trouble] | None = None) -> Document:
    """Read one YAML document from `text`.

    Args:
        text: the file's.
        name: what messages call it.
        troubles: is given what is wrong with single values or characters, which are None or U+FFFD then.

    Raises:
        ConfigError: as `read_yaml`; without `troubles` for every fault.
    """
    walk = _Walk(name)
    readable = _readable(text, walk)
    try:
        node = _Loader(readable).get_single_node()
        value = None if node is None else walk.value(node, ())
    except yaml.MarkedYAMLError as error:
        raise ConfigError("\n".join([*(fault.line for fault in walk.faults), _syntax_fault(error, name)])) from error
    except RecursionError as error:
        raise ConfigError(f"{name}: expected at most {DEEPEST} levels, found deeper nesting") from error
    if walk.faults and troubles is None:
        raise ConfigError("\n".join(fault.line for fault in walk.faults))
    if troubles is not None:
        troubles += walk.faults
    return Document(name, value, walk.marks, walk.written)


def _readable(text: str | bytes, walk: _Walk) -> str:
    """Return the text with U+FFFD for what is no UTF-8 or not printable; the first of each is a fault of `walk`."""
    if isinstance(text, bytes):
        data = text
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before = error.object[: error.start].decode("utf-8-sig", "replace")
            found = f"expected UTF-8 text, found byte {error.object[error.start]:#04x}"
            walk.fault(_end_of(before), None, found)
            text = data.decode("utf-8-sig", "replace")
    character = yaml.reader.Reader.NON_PRINTABLE.search(text)
    if character:
        found = f"expected text, found the character {ord(character.group()):#04x}"
        walk.fault(_end_of(text[: character.start()]), None, found)
    return yaml.reader.Reader.NON_PRINTABLE.sub("\ufffd", text)


def _end_of(text: str) -> Mark:
    return Mark(text.count("\n") + 1, len(text.rpartition("\n")[2]) + 1)


def dump_yaml(value: Any) -> str:
    """Return `value` (dicts, lists, text, numbers, booleans, None) as YAML that `parse_yaml` reads back to the same."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, default_flow_style=None)


class _Walk:
    """From nodes to values, keeping places and collecting faults."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.marks: dict[Keys, Mark] = {}
        self.written: dict[Keys, str] = {}
        self.faults: list[Trouble] = []

    def value(self, node: Node, keys: Keys) -> Any:
        """Return the value of `node`, noting the place of `keys` and every fault on the way."""
        self.marks.setdefault(keys, _mark(node.start_mark))
        if len(keys) > DEEPEST:
            self.fault(_mark(node.start_mark), keys[:1], f"expected at most {DEEPEST} levels, found deeper nesting")
            return None
        if node.tag.removeprefix(_TAG) not in (*_CONSTRUCT, "map", "seq"):
            self.fault(_mark(node.start_mark), keys, f"expected a plain value, found the tag {node.tag}")
        elif isinstance(node, MappingNode):
            return self._mapping(node, keys)
        elif isinstance(node, SequenceNode):
            return tuple(self.value(item, (*keys, i)) for i, item in enumerate(node.value))
        elif isinstance(node, ScalarNode):
            return self._scalar(node, keys)
        return None

    def _mapping(self, node: MappingNode, keys: Keys) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, mark = key_node.value, _mark(key_node.start_mark)
            if not isinstance(key_node, ScalarNode) or key_node.tag != _TAG + "str":
                self.fault(mark, keys, f"expected text as a key, found {_shown(key_node)}")
            elif key in found:
                first = self.marks[(*keys, key)].line
                self.fault(mark, (*keys, key), f"expected once, found again; first given on line {first}")
            else:
                self.marks[(*keys, key)] = mark
                found[key] = self.value(value_node, (*keys, key))
        return found

    def _scalar(self, node: ScalarNode, keys: Keys) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if node.style is None and kind in ("int", "float", "bool"):
            self.written[keys] = node.value[:LONGEST]
        try:
            return _CONSTRUCT[kind](node.value)
        except (KeyError, ValueError):
            self.fault(_mark(node.start_mark), keys, f'expected a value of type {kind}, found "{node.value[:LONGEST]}"')
        return None

    def fault(self, mark: Mark, keys: Keys | None, message: str) -> None:
        """Note a fault at a place."""
        where = f"{dotted(keys)}: " if keys else ""
        self.faults.append(Trouble(mark, keys, f"{_place(self.name, mark)}: {where}{message}"))


def _integer(text: str) -> int:
    """Decimal whatever it starts with (`012` is 12), octal and hexadecimal only as `0o` and `0x`."""
    if len(text) > DIGITS:
        raise ValueError
    return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))


def _real(text: str) -> float:
    return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))


_CONSTRUCT: dict[str, Callable[[str], Any]] = {
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "int": _integer,
    "float": _real,
    "str": str,
}


def dotted(keys: Sequence[str | int]) -> str:
    """Return `a.b[0]` for the keys `a`, `b`, 0."""
    return "".join(f"[{k}]" if isinstance(k, int) else f".{k}" for k in keys).removeprefix(".")


def _shown(node: Node) -> str:
    return str(node.value) if isinstance(node, ScalarNode) else f"a {type(node).__name__.removesuffix('Node').lower()}"


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1)


def _place(name: str, mark: Mark) -> str:
    return f"{name}:{mark.line}:{mark.column}"


def _syntax_fault(error: yaml.MarkedYAMLError, name: str) -> str:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or "not YAML"
    if "'\\t'" in problem:
        problem = "expected spaces, found a tab; YAML is indented with spaces only"
    elif error.context:
        problem = f"{error.context}, {problem}"
    return f"{_place(name, _mark(mark)) if mark else name}: {problem}"
