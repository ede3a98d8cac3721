"""The YAML files that can be named plainly: problems, and tables, which compare methods."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from evoens.errors import ConfigError, nearest

PROBLEMS = "evoens_problems"
_METHODS = re.compile(r"^methods\s*:", re.MULTILINE)


def shipped_problems() -> dict[str, Path]:
    """Return the problems of the package and of the working folder's `problems/`, by plain name."""
    return {name: path for name, path in _shipped().items() if not is_table(path)}


def shipped_tables() -> dict[str, Path]:
    """Return the tables that are there, by plain name."""
    return {name: path for name, path in _shipped().items() if is_table(path)}


def is_table(path: Path) -> bool:
    """Whether a YAML file is that of a table: it has `methods`."""
    return bool(_METHODS.search(path.read_text("utf-8", "replace")))


def _shipped() -> dict[str, Path]:
    package = importlib.util.find_spec(PROBLEMS)
    folders = [Path(p) for p in (package.submodule_search_locations or [])] if package else []
    return {path.stem: path for folder in (*folders, Path("problems")) for path in sorted(folder.glob("*.yaml"))}


def find_problem(problem: str | Path) -> Path:
    """Return the YAML file that a path or a plain name means.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    path, shipped = Path(problem), _shipped()
    if path.is_file():
        return path
    if str(problem) in shipped:
        return shipped[str(problem)]
    if path.is_dir():
        raise ConfigError(f"{problem}: expected a YAML file, found a folder")
    raise ConfigError(
        f"{problem}: expected a YAML file or one of {', '.join(shipped)}, found neither{nearest(path.stem, shipped)}"
    )
