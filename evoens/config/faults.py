"""From what pydantic says about a value to a sentence a person can act on: expected this, found that."""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from evoens.errors import nearest
from evoens.settings.base import SAID
from evoens.settings.fault import Fault, Keys


def faults_of(error: ValidationError, model: type[BaseModel], value: Any, written: Mapping[Keys, str]) -> list[Fault]:
    """Return one fault for each thing that is wrong with `value`, in pydantic's order; `error` is `model`'s.

    `written` is how numbers and the like stand in the YAML, for those that were meant as text.
    """
    schema = Schema(model)
    found: dict[Keys, Fault] = {}
    for detail in error.errors(include_url=False):
        if detail["type"] == "conflict":
            faults = list(_conflicts(detail["loc"], detail["ctx"]["conflicts"]))
        else:
            faults = [schema.fault(detail, value, written)]
        for fault in faults:
            found.setdefault(fault.keys, fault)
    return list(found.values())


def unknown_key(keys: Keys, known: Sequence[str]) -> Fault:
    """Return the fault of a key that is none of `known`, with the nearest of them."""
    close = difflib.get_close_matches(str(keys[-1]), known, n=1)
    hint = f'did you mean "{close[0]}"?' if close else f"expected one of {', '.join(known)}"
    return Fault(keys, f"unknown key; {hint}", meant=(*keys[:-1], close[0]) if close else None, unknown=True)


def _conflicts(keys: Keys, conflicts: list[tuple[str, str, str]]) -> Iterator[Fault]:
    for key, other, message in conflicts:
        yield Fault((*keys, *key.split(".")), message, ((*keys, *other.split(".")),))


class Schema:
    """The JSON schema of a model: it knows what is expected at each key, in a form that can be said."""

    def __init__(self, model: type[BaseModel]) -> None:
        self.root: dict[str, Any] = model.model_json_schema()

    def fault(self, detail: ErrorDetails, value: Any, written: Mapping[Keys, str]) -> Fault:
        """Return the fault of one of pydantic's errors, at the key of the YAML it is about."""
        kind, loc = detail["type"], detail["loc"]
        keys, schema = self.follow(loc)
        if kind == "extra_forbidden":
            return self._unknown(loc, schema)
        if kind == "missing" and isinstance(loc[-1], str):
            return Fault(loc, f"missing; expected {self.phrase(schema)}", missing=True)
        if kind == "missing":  # a list that is too short
            keys, schema = self.follow(loc[:-1])
        found = _at(value, keys)
        expected = detail["msg"] if kind == SAID else self.phrase(schema)
        if keys in written and self._takes_text(schema):
            raw = written[keys]
            read = "" if shown(found) == raw else f", which YAML reads as {shown(found)}"
            return Fault(keys, f'expected {expected}, found {raw}{read}; as text it is written "{raw}"')
        meant = nearest(found, self._choices(schema)) if isinstance(found, str) else ""
        return Fault(keys, f"expected {expected}, found {shown(found)}{meant}")

    def _takes_text(self, schema: dict[str, Any]) -> bool:
        options = [self._resolved(option) for option in schema.get("anyOf", [schema])]
        return any(option.get("type") == "string" and not {"enum", "const"} & option.keys() for option in options)

    def follow(self, loc: Keys) -> tuple[Keys, dict[str, Any]]:
        """Return as much of `loc` as names keys (pydantic adds names of types), and the schema there."""
        schema = self._resolved(self.root)
        for depth, key in enumerate(loc):
            inner = self._step(schema, key)
            if inner is None:
                return loc[:depth], schema
            schema = inner
        return loc, schema

    def _step(self, schema: dict[str, Any], key: str | int) -> dict[str, Any] | None:
        options = [self._resolved(option) for option in schema.get("anyOf", [schema])]
        for option in options:
            if isinstance(key, int):
                fixed, inner = option.get("prefixItems", []), option.get("items")
                inner = fixed[key] if key < len(fixed) else inner
            else:
                inner = option.get("properties", {}).get(key)
            if isinstance(inner, dict):
                return self._resolved(inner)
        return None

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        reference = schema.get("$ref")
        if reference is None:
            return schema
        found: dict[str, Any] = self.root["$defs"][reference.rsplit("/", 1)[1]]
        return found

    def _unknown(self, loc: Keys, schema: dict[str, Any]) -> Fault:
        """Name the key likely meant: of this section, or of the same name in another."""
        word = str(loc[-1])
        known = [
            key for option in schema.get("anyOf", [schema]) for key in self._resolved(option).get("properties", {})
        ]
        elsewhere = [path for path in self.paths() if path.endswith(f".{word}")]
        if elsewhere:
            return Fault(loc, f'unknown key; did you mean "{elsewhere[0]}"?', unknown=True)
        return unknown_key(loc, known)

    def _choices(self, schema: dict[str, Any]) -> list[str]:
        options = [self._resolved(option) for option in schema.get("anyOf", [schema])]
        return [word for option in options for word in (*option.get("enum", ()), *filter(None, [option.get("const")]))]

    def paths(self, schema: dict[str, Any] | None = None, prefix: str = "") -> Iterator[str]:
        """Yield every key that is always there, dotted: those of sections that may be null are not."""
        for key, inner in self._resolved(self.root if schema is None else schema).get("properties", {}).items():
            yield prefix + key
            yield from self.paths(inner, f"{prefix}{key}.")

    def phrase(self, schema: dict[str, Any]) -> str:
        """Return what is expected, as in `an integer ≥ 4` or `one of easy, hard`."""
        schema = self._resolved(schema)
        if "expected" in schema:
            return str(schema["expected"])
        if "anyOf" in schema:
            return " or ".join(self.phrase(option) for option in schema["anyOf"])
        if "enum" in schema:
            return f"one of {', '.join(map(str, schema['enum']))}"
        if "const" in schema:
            return str(schema["const"])
        return self._typed(schema)

    def _typed(self, schema: dict[str, Any]) -> str:
        kind = schema.get("type")
        if kind == "object":
            return f"a section with {', '.join(schema.get('properties', {}))}"
        if kind == "array":
            fixed = schema.get("prefixItems")
            each = self.phrase(fixed[0] if fixed else schema["items"])
            return f"a list of {len(fixed)}, each {each}" if fixed else f"a list, each {each}"
        words = {"integer": "an integer", "number": "a number", "string": "text", "boolean": "true or false"}
        return words.get(str(kind), str(kind)) + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {schema[name]}" for name, sign in signs.items() if name in schema]
    return f" {' and '.join(limits)}" if limits else ""


def _at(value: Any, keys: Keys) -> Any:
    for key in keys:
        value = value[key]
    return value


def shown(value: Any) -> str:
    """Return a value as it would be written in the YAML, shortened to what a message can hold."""
    if isinstance(value, Mapping):
        return f"a section with {', '.join(map(str, value))}" if value else "an empty section"
    if isinstance(value, tuple):
        return f"[{', '.join(map(shown, value[:8]))}{', …' if len(value) > 8 else ''}]"
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else ".inf" if value > 0 else "-.inf"
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:79]}…"
