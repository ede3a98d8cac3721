"""What every key of a YAML means, what it may be and what it is by default: from the settings themselves."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, get_args

from pydantic_core import PydanticUndefined

from evoens.config.faults import Schema, shown
from evoens.config.yaml_file import Keys, dotted
from evoens.errors import ConfigError, nearest
from evoens.methods.registry import BASELINES
from evoens.plugins.spec import Located, locate, module_file, shipped_strategies
from evoens.settings.base import Section
from evoens.settings.table import TableSettings
from evoens.tasks import TYPES, task_type

Row = dict[str, str]
ALL, TABLES = "every problem", "tables"
_KINDS = {"str": "text", "int": "an integer", "float": "a number", "bool": "true or false"}
_ARGUMENT = re.compile(r"^ {4}(\w[\w, ]*): (.*(?:\n {5,}.*)*)", re.MULTILINE)
"""Names in a docstring, and what they mean."""
COLUMNS = {"key": "key", "expected": "what it may be", "default": "by default", "meaning": "what it means"}


def explain(word: str | None = None) -> list[Row]:
    """Return a row for each key of a YAML, or for those that `word` names; `of` is which YAMLs have it.

    First come the keys of every problem, then those of each type, what each Strategy that ships makes of its own, and
    the keys of tables.

    Args:
        word: a key, as `search.population` or `population`, or a section, as `search`.

    Raises:
        ConfigError: there is no such key; the message names the nearest.
    """
    rows = [*_settings(), *_strategies(), *_tables()]
    found = [row for row in rows if word is None or _names(word, row["key"])]
    if not found:
        known = {part for row in rows for part in (row["key"], row["key"].rpartition(".")[2])}
        raise ConfigError(f"{word}: expected a key of a YAML, found none of this name{nearest(str(word), known)}")
    return found


def grouped(rows: Sequence[Mapping[str, str]]) -> dict[str, list[Mapping[str, str]]]:
    """Return the rows by the title of what they belong to."""
    found: dict[str, list[Mapping[str, str]]] = {}
    for row in rows:
        found.setdefault(f"keys of {row['of']}", []).append(row)
    return found


def _settings() -> list[Row]:
    """The keys that evoens itself knows: those of every problem, then those of each type, by the alphabet."""
    of_each = {kind: list(_rows(task_type(kind).settings)) for kind in sorted(TYPES)}
    shared = [row for row in next(iter(of_each.values())) if all(row in rows for rows in of_each.values())]
    own = {f"problem.type: {kind}": [row for row in rows if row not in shared] for kind, rows in of_each.items()}
    return [{**row, "of": of} for of, rows in ({ALL: shared} | own).items() for row in rows]


def _strategies() -> Iterator[Row]:
    """The keys that each Strategy makes of its own."""
    for name in shipped_strategies():
        for row in _arguments(locate(name)):
            yield {**row, "key": f"strategy.{row['key']}", "of": f"strategy.class: {name}"}


def _tables() -> Iterator[Row]:
    """The keys that only tables have, and those of each method's row."""
    yield from ({**row, "of": TABLES} for row in _rows(TableSettings))
    for name, spec in BASELINES.items():
        for row in _arguments(locate(spec)):
            yield {**row, "key": f"methods.{name}.{row['key']}", "of": TABLES}


def _arguments(located: Located) -> Iterator[Row]:
    """Yield the arguments that a class explains in its source, which need not be imported."""
    file = module_file(str(located.module))
    assert file is not None
    for node in ast.parse(file.read_bytes()).body:
        if isinstance(node, ast.ClassDef) and located.name in (None, node.name):
            facts, said = _facts(node), (ast.get_docstring(node) or "").partition("Args:\n")[2]
            for names, meaning in _ARGUMENT.findall(said.partition("\n\n")[0]):
                for name in names.split(", "):
                    yield {"key": name, **facts[name], "meaning": " ".join(meaning.split())}


def _facts(node: ast.ClassDef) -> dict[str, Row]:
    """What each argument of a class may be, and is by default, as its source says."""
    found: dict[str, Row] = {}
    for init in node.body:
        if isinstance(init, ast.FunctionDef) and init.name == "__init__":
            plain, only = init.args.args, init.args.kwonlyargs
            given = [*init.args.defaults, *init.args.kw_defaults]
            for argument, default in zip([*plain[len(plain) - len(init.args.defaults) :], *only], given, strict=True):
                kind = argument.annotation.id if isinstance(argument.annotation, ast.Name) else ""
                value = shown(ast.literal_eval(default)) if default else "must be given"
                found[argument.arg] = {"expected": _KINDS.get(kind, "a list"), "default": value}
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
