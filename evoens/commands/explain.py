"""What every key of a YAML means, what it may be and what it is by default: from the settings themselves."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from functools import cache
from typing import Any, get_args

from pydantic_core import PydanticUndefined

from evoens.config.faults import Schema, shown
from evoens.config.yaml_file import Keys, dotted
from evoens.errors import ConfigError, nearest
from evoens.settings import CONFIGS
from evoens.settings.base import Section

Row = dict[str, str]
COLUMNS = {"key": "key", "expected": "what it may be", "default": "by default", "meaning": "what it means"}


def explain(word: str | None = None) -> list[Row]:
    """Return a row for each key of every problem's YAML, or for those that `word` names.

    Args:
        word: a key, as `search.population` or `population`, or a section, as `search`.

    Raises:
        ConfigError: there is no such key; the message names the nearest.
    """
    rows = {tuple(row.values()): row for model in CONFIGS.values() for row in _rows(model)}
    found = [row for row in rows.values() if word is None or _names(word, row["key"])]
    if not found:
        known = {part for row in rows.values() for part in (row["key"], row["key"].rpartition(".")[2])}
        raise ConfigError(f"{word}: expected a key of a YAML, found none of this name{nearest(str(word), known)}")
    return found


def _names(word: str, key: str) -> bool:
    return key == word or key.startswith(f"{word}.") or key.endswith(f".{word}")


def _rows(model: type[Section]) -> Iterator[Row]:
    schema = Schema(model)
    for keys, default, meaning in _keys(model):
        expected = schema.phrase(schema.follow(keys)[1])
        yield {"key": dotted(keys), "expected": expected, "default": default, "meaning": meaning}


def _keys(model: type[Section], around: Keys = (), given: Section | None = None) -> Iterator[tuple[Keys, str, str]]:
    """Yield each key within `model`, its default and its meaning; `given` has the defaults that a section has here."""
    for name, field in model.model_fields.items():
        keys: Keys = (*around, field.alias or name)
        own = field.get_default(call_default_factory=True)
        default = own if given is None else getattr(given, name)
        section = _section(field.annotation)
        meaning = _meanings(model).get(name) or ((section.__doc__ or "").partition("\n")[0] if section else "")
        yield keys, _said(default, section), meaning
        if section:
            yield from _keys(section, keys, default if isinstance(default, Section) else None)


def _said(default: Any, section: type[Section] | None) -> str:
    if default is PydanticUndefined:
        return "must be given"
    return "" if section and default is not None else shown(default)


def _section(annotation: Any) -> type[Section] | None:
    """Return the section that a key holds, where it holds one."""
    if isinstance(annotation, type):
        return annotation if issubclass(annotation, Section) else None
    return next(filter(None, map(_section, get_args(annotation))), None)


@cache
def _meanings(model: type[Section]) -> dict[str, str]:
    """Return the text below each key in the source of `model` and of what it is derived from."""
    found: dict[str, str] = {}
    for cls in reversed(model.__mro__):
        if issubclass(cls, Section):
            (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
            assert isinstance(tree, ast.ClassDef)
            for key, text in zip(tree.body, tree.body[1:], strict=False):
                match key, text:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(meaning))):
                        found[name] = " ".join(meaning.split())
    return found
