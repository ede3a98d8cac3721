"""From a string in the YAML to a class: `noisy`, `path/to/file.py:Class` or `pkg.mod:Class`."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from evoens.errors import SpecError, nearest, one_line

STRATEGIES = "evoens_strategies"


@dataclass(frozen=True, slots=True)
class Located:
    """A class's source before it is imported: what the string meant, and the file's sha256."""

    spec: str
    module: str | Path
    name: str | None
    sha256: str


def shipped_strategies() -> list[str]:
    """Return the plain names that resolve to a strategy of the package, without importing any."""
    package = importlib.util.find_spec(STRATEGIES)
    folders = list(package.submodule_search_locations or []) if package else []
    files = sorted(path for folder in folders for path in Path(folder).glob("*.py"))
    return [path.stem for path in files if not path.stem.startswith("_")]


def locate(spec: str, folders: Sequence[Path] = ()) -> Located:
    """Find the source of `spec` without importing it; a relative path is tried from each of `folders`.

    Raises:
        SpecError: no such file, module or shipped strategy; the message names the nearest.
    """
    target, _, name = spec.rpartition(":") if ":" in spec else (spec, "", "")
    if target.endswith(".py") or "/" in target:
        tried = [Path(target)] if Path(target).is_absolute() else [folder / target for folder in folders]
        path = next((p.resolve() for p in tried if p.is_file()), None)
        if path is None:
            raise SpecError(f'"{spec}": expected a Python file, found none at {", ".join(map(str, tried))}')
        return Located(spec, path, name or None, _sha256(path))
    module = target if name else f"{STRATEGIES}.{target}"
    try:
        found = importlib.util.find_spec(module)
    except Exception:  # finding a module imports its package, which may fail in any way
        found = None
    if found is None or found.origin is None or not Path(found.origin).is_file():
        known = shipped_strategies()
        raise SpecError(
            f'"{spec}": expected one of {", ".join(known)}, path/to/file.py:Class or package.module:Class'
            + nearest(spec, known)
        )
    return Located(spec, module, name or None, _sha256(Path(found.origin)))


def load_class(located: Located, base: type) -> type:
    """Import the located source and return its class: the one named, or the file's only subclass of `base`.

    Raises:
        SpecError: the source does not import, or holds no such class, or the class does not derive from `base`.
    """
    module = _import(located)
    if located.name is None:
        own: list[type] = [c for c in vars(module).values() if _is_own_subclass(c, base, module)]
        if len(own) != 1:
            found = ", ".join(c.__name__ for c in own) or "none"
            raise SpecError(f'"{located.spec}": expected exactly one {base.__name__} in the file, found {found}')
        return own[0]
    cls = getattr(module, located.name, None)
    if not inspect.isclass(cls):
        classes = [n for n, c in vars(module).items() if inspect.isclass(c)]
        raise SpecError(f'"{located.spec}": no class {located.name} there' + nearest(located.name, classes))
    if not issubclass(cls, base):
        raise SpecError(f'"{located.spec}": expected a subclass of {base.__name__}, found {cls.__mro__[1].__name__}')
    missing = [name for name, value in inspect.getmembers(cls) if getattr(value, "__isabstractmethod__", False)]
    if missing:
        raise SpecError(f'"{located.spec}": {located.name} does not define {", ".join(missing)}')
    return cls


def _is_own_subclass(value: object, base: type, module: ModuleType) -> bool:
    return (
        inspect.isclass(value)
        and issubclass(value, base)
        and value.__module__ == module.__name__
        and not inspect.isabstract(value)
    )


def _import(located: Located) -> ModuleType:
    name = f"evoens_user_{located.sha256[:16]}"  # by content: two files of one name never mix
    try:
        if isinstance(located.module, str):
            return importlib.import_module(located.module)
        spec = importlib.util.spec_from_file_location(name, located.module)
        assert spec is not None and spec.loader is not None
        module = sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    except Exception as error:
        sys.modules.pop(name, None)
        raise SpecError(f'"{located.spec}" does not import: {one_line(error)}') from error
    return module


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
