"""From the YAML of a table to its checked rows: every fault at once, with its place; nothing heavy is imported."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from evoens.config.checking import check, put
from evoens.config.faults import faults_of, shown, unknown_key
from evoens.config.load import base_of, is_of, line_of, parsed, short
from evoens.config.shipped import find_problem
from evoens.config.yaml_file import Document, Keys, Trouble, dump_yaml, read_yaml
from evoens.errors import ConfigError, SpecError, nearest
from evoens.methods.registry import BASELINES, PRUNED
from evoens.plugins.signature import read_signature
from evoens.plugins.spec import Located, locate, shipped_strategies
from evoens.settings.config import Config
from evoens.settings.fault import Fault
from evoens.settings.table import TableSettings
from evoens.tasks import parse_config

RESOLVED = "table.resolved.yaml"
OWN = ("method", "epochs", "train")
"""Keys of a row beside the arguments of its method, or its sections."""
UNTRAINED = "untrained.safetensors"  # in the place of a parent, which a table trains itself


@dataclass(frozen=True)
class Row:
    """A row of a table.

    Attributes:
        label: its name.
        method: what makes it, as it is named: a baseline, or a Strategy.
        source: where a baseline's class comes from; None where the row evolves.
        arguments: what the class is made with.
        value: the whole ordinary YAML, but for its seed and its parent.
        epochs: its budget.
        children: how many of these epochs are those of children, where it evolves.
    """

    label: str
    method: str
    source: Located | None
    arguments: Mapping[str, Any]
    value: Mapping[str, Any]
    epochs: int
    children: int = 0

    def config(self, seed: int, base: Path, checkpoint: Path | None = None) -> Config:
        """Return the row as an ordinary experiment.

        Args:
            seed: of it.
            base: the table's folder.
            checkpoint: where its parent is, if it has one.
        """
        parent = {**self.value["parent"], **({} if checkpoint is None else {"checkpoint": str(checkpoint)})}
        return parse_config({**self.value, "seed": seed, "parent": parent}, base)


@dataclass(frozen=True)
class Table:
    """A checked table: its rows, and how a fault is said with its place."""

    settings: TableSettings
    rows: Sequence[Row]
    base: Path
    line: Callable[[Fault], str]
    resolved: str

    def chosen(self, labels: str | None) -> list[Row]:
        """Return the rows of these labels, parted by commas; all of them where there are none.

        Raises:
            ConfigError: there is no such row.
        """
        known = {row.label: row for row in self.rows}
        asked = list(known) if labels is None else [label.strip() for label in labels.split(",")]
        for label in asked:
            if label not in known:
                hint = nearest(label, known)
                raise ConfigError(f"--methods: expected some of {', '.join(known)}, found {label or 'nothing'}{hint}")
        return [row for row in self.rows if row.label in asked]


def load_table(problem: str | Path, settings: Sequence[str] = ()) -> Table:
    """Read and check a table.

    Args:
        problem: a YAML file, or the plain name of one that ships or lies in `problems/` of the working folder.
        settings: `a.b=c` each, over the file.

    Raises:
        ConfigError: something is wrong; the message has one line for each fault.
    """
    path = find_problem(problem)
    troubles: list[Trouble] = []
    document = read_yaml(path, short(path), troubles)
    overrides, lines = parsed(settings)
    value = copy.deepcopy(document.value) if isinstance(document.value, dict) else {}
    faults = [fault for override in overrides if (fault := put(value, override))]
    line = partial(line_of, document=document, overrides=overrides)
    checked, rows = _checked(replace(document, value=value), base_of(path), faults)
    placed = [(trouble.mark, trouble.line) for trouble in troubles]
    for fault in faults:
        mark = document.mark(fault.keys)
        if not any(is_of(trouble, fault.keys, mark) for trouble in troubles):
            placed.append((mark, line(fault)))
    lines += dict.fromkeys(text for _, text in sorted(placed, key=lambda one: one[0]))
    if lines or checked is None:
        raise ConfigError("\n".join(lines))
    return Table(checked, rows, base_of(path), line, dump_yaml(_plain(value)))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, tuple) else value


def _checked(document: Document, base: Path, faults: list[Fault]) -> tuple[TableSettings | None, list[Row]]:
    """Return the table's own settings and its rows; what is wrong goes to `faults`."""
    value = document.value
    own = {key: value[key] for key in TableSettings.model_fields if key in value}
    rest = {key: inner for key, inner in value.items() if key not in own}
    further = [key for key in TableSettings.model_fields if key not in Config.model_fields]
    for key in [key for key in rest if key == "seed" or get_close_matches(key, further, n=1)]:
        if key == "seed" or key not in Config.model_fields:  # any other is for the ordinary keys to know
            faults.append(unknown_key((key,), further))
            del rest[key]
    try:
        settings = TableSettings.model_validate(own)
    except ValidationError as error:
        found = faults_of(error, TableSettings, own, document.written)
        meant = {fault.meant for fault in faults}
        faults += [fault for fault in found if not (fault.missing and fault.keys in meant)]
        return None, []
    if found := _parent_faults(rest):
        faults += found
        return settings, []
    common = _Common(replace(document, value=rest), base, settings)
    faults += common.faults
    rows = [common.row(label, dict(arguments or {}), faults) for label, arguments in settings.methods.items()]
    return settings, [row for row in rows if row is not None]


def _parent_faults(value: Mapping[str, Any]) -> list[Fault]:
    """What of a parent is not for a table to say."""
    parent = value.get("parent")
    train = parent.get("train") if isinstance(parent, dict) else None
    faults = []
    if isinstance(parent, dict) and "checkpoint" in parent:
        faults.append(Fault(("parent", "checkpoint"), "expected none, since a table trains its networks, found one"))
    if isinstance(train, dict) and "epochs" in train:
        found = shown(train["epochs"])
        faults.append(Fault(("parent", "train", "epochs"), f"expected none beside budget.epochs, found {found}"))
    return faults


class _Asked(NamedTuple):
    """A row as it stands in the YAML: where, its method, its arguments or sections, and its own training and budget."""

    here: Keys
    method: str
    arguments: dict[str, Any]
    train: dict[str, Any]
    epochs: int


@dataclass(frozen=True)
class _Common:
    """What all rows have in common: the table without its own keys."""

    document: Document
    base: Path
    settings: TableSettings

    @cached_property
    def faults(self) -> list[Fault]:
        """What is wrong with it, whatever the rows."""
        return self._check(self._whole({}, "noisy", self.settings.budget.epochs))[1]

    def row(self, label: str, arguments: dict[str, Any], faults: list[Fault]) -> Row | None:
        """Return a row; what is wrong with it goes to `faults`, and it is none then."""
        here: Keys = ("methods", label)
        method, epochs = arguments.pop("method", label), arguments.pop("epochs", self.settings.budget.epochs)
        train = arguments.pop("train", {})
        wrong = list(_own_faults(here, method, epochs, train))
        if wrong:
            faults += wrong
            return None
        arguments = _merged(PRUNED.get(method, {}), arguments)
        strategy = arguments.get("strategy")
        own = strategy.get("class") if isinstance(strategy, dict) else None
        if own is None and method not in shipped_strategies():
            return self._baseline(_Asked(here, method, arguments, train, epochs), faults)
        return self._evolving(_Asked(here, own or method, arguments, train, epochs), faults)

    def _baseline(self, asked: _Asked, faults: list[Fault]) -> Row | None:
        here, method, arguments, train, epochs = asked
        value = self._whole({"parent": {"train": train}}, "noisy", epochs)
        found = list(self._of_row(here, value, {"train": train}))
        try:
            if method not in BASELINES and ":" not in method and not method.endswith(".py"):
                known = [*BASELINES, *PRUNED, *shipped_strategies()]
                raise SpecError(
                    f"expected one of {', '.join(known)} or my.py:Class, found {method}{nearest(method, known)}"
                )
            source = locate(BASELINES.get(method, method), [self.base, Path.cwd()])
            signature = read_signature(source)
        except SpecError as error:
            place = (*here, "method") if (*here, "method") in self.document.marks else here
            faults += [*found, Fault(place, str(error))]
            return None
        takes = list(signature.arguments) if signature else list(arguments)
        found += [unknown_key((*here, key), [*takes, *OWN]) for key in arguments if key not in takes]
        faults += found
        return Row(str(here[1]), method, source, arguments, value, epochs)

    def _evolving(self, asked: _Asked, faults: list[Fault]) -> Row:
        here, strategy, sections, train, epochs = asked
        value = self._whole({**sections, "parent": {"train": train}}, strategy, epochs)
        faults += self._of_row(here, value, {**sections, "train": train})
        config = self._check(value)[0]
        tune = getattr(config, "tune", None)
        children = config.search.population * config.search.generations * tune.epochs if tune else 0
        if children >= epochs:
            found = f"{config.search.population} × {config.search.generations} children of {tune and tune.epochs}"
            faults.append(
                Fault(here, f"expected children that leave their parent some of {epochs} epochs, found {found}")
            )
        value["parent"]["train"]["epochs"] = max(1, epochs - children)
        value["name"] = str(here[1])
        return Row(str(here[1]), strategy, None, {}, value, epochs, children)

    def _whole(self, over: Mapping[str, Any], strategy: str, epochs: int) -> dict[str, Any]:
        """Return an ordinary YAML: what is common, with a row's sections over it."""
        own: dict[str, Any] = {
            "name": self.settings.name,
            "strategy": {"class": strategy},
            "parent": {"checkpoint": UNTRAINED, "train": {"epochs": epochs}},
        }
        return _merged(_merged(copy.deepcopy(self.document.value), own), over)

    def _check(self, value: dict[str, Any]) -> tuple[Config, list[Fault]]:
        return check(replace(self.document, value=value), (), self.base, retrain=True)

    def _of_row(self, here: Keys, value: dict[str, Any], own: Mapping[str, Any]) -> Iterator[Fault]:
        """Yield what is wrong with a row that is not wrong with what is common, at the row's keys."""
        common = {(fault.keys, fault.message) for fault in self.faults}
        for fault in self._check(value)[1]:
            if (fault.keys, fault.message) not in common:
                keys, *others = (_place(here, keys, own) for keys in fault.about)
                meant = fault.meant and _place(here, fault.meant, own)
                yield replace(fault, keys=keys, others=tuple(others), meant=meant)


def _place(here: Keys, keys: Keys, own: Mapping[str, Any]) -> Keys:
    """Return where a key of an ordinary YAML stands in the table: in the row, if the row has its section."""
    if keys[:2] == ("parent", "train") and own.get("train"):
        return (*here, *keys[1:])
    return (*here, *keys) if keys and keys[0] in own and keys[0] != "train" else keys


def _own_faults(here: Keys, method: Any, epochs: Any, train: Any) -> Iterator[Fault]:
    if not isinstance(method, str):
        yield Fault((*here, "method"), f"expected a method's name, found {shown(method)}")
    if type(epochs) is not int or epochs < 1:
        yield Fault((*here, "epochs"), f"expected an integer ≥ 1, found {shown(epochs)}")
    if not isinstance(train, dict):
        yield Fault((*here, "train"), f"expected a section as parent.train, found {shown(train)}")
    elif "epochs" in train:
        yield Fault((*here, "train", "epochs"), f"expected none, as {here[1]}.epochs says it, found one")


def _merged(value: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return a YAML's value with another over it, key by key."""
    found = dict(value)
    for key, inner in over.items():
        both = isinstance(inner, Mapping) and isinstance(found.get(key), dict)
        found[key] = _merged(found[key], inner) if both else copy.deepcopy(inner)
    return found
