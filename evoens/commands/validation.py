"""The command that checks YAML files: of problems, and of tables."""

from __future__ import annotations

from collections.abc import Sequence

from evoens.commands import session
from evoens.commands.printing import say
from evoens.config.load import load
from evoens.config.shipped import find_problem, is_table
from evoens.config.table import load_table
from evoens.errors import ConfigError


def faults(problems: Sequence[str], settings: Sequence[str], *, data: bool, silent: bool) -> list[str]:
    """Return a line for each fault of some YAML files; what is to be said of the others is said, unless `silent`.

    data: open every image, too.
    """
    found = list[str]()
    for problem in problems:
        try:
            remarks = _remarks(problem, settings, data)
        except ConfigError as error:
            found += str(error).split("\n")
        else:
            if not silent:
                say("\n".join([f"{problem}: ok", *remarks]))
    return found


def _remarks(problem: str, settings: Sequence[str], data: bool) -> list[str]:
    if is_table(find_problem(problem)):
        load_table(problem, settings)
        return []
    loaded = load(problem, settings)
    return [*loaded.config.remarks, *(session.read_data(loaded) if data else [])]
