"""From a string in the YAML to a class: `noisy`, `path/to/file.py:Class` or `pkg.mod:Class`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from evoens.errors import SpecError, nearest
from evoens.plugins.guest import guest
from evoens.plugins.own_code import Code, read_code, source_sha256

STRATEGIES = "evoens_strategies"


@dataclass(frozen=True, slots=True)
class Located:
    """A class's source before it is imported: what the string meant, and the file's sha256.

    Attributes:
        code: a user's own file as it was read, and its helpers.
    """

    spec: str
    module: str | Path
    name: str | None
    sha256: str
    code: Code | None = field(default=None, compare=False, repr=False)

    @classmethod
    def of(cls, spec: str, code: Code, name: str | None) -> Located:
        """Return where `spec` was found to be a file of a user's own."""
        return cls(spec, code.path, name, code.sha256, code)


def shipped_strategies() -> list[str]:
    """Return the plain names that resolve to a strategy of the package, without importing any."""
    package = importlib.util.find_spec(STRATEGIES)
    folders = list(package.submodule_search_locations or []) if package else []
    files = sorted(path for folder in folders for path in Path(folder).glob("*.py"))
    return [path.stem for path in files if not path.stem.startswith("_")]


def locate(spec: str, folders: Sequence[Path] = (), known: Sequence[str] | None = None) -> Located:
    """Find the source of `spec` without importing it; a relative path is tried from each of `folders`.

    known: the plain names there are, where `spec` is none and they are not those of strategies.

    Raises:
        SpecError: no such file, module or shipped strategy; the message names the nearest.
    """
    target, _, name = spec.rpartition(":") if ":" in spec else (spec, "", "")
    if target.endswith(".py") or "/" in target:
        tried = [Path(target)] if Path(target).is_absolute() else [folder / target for folder in folders]
        path = next((p.resolve() for p in tried if p.is_file()), None)
        if path is None:
            raise SpecError(f'"{spec}": expected a Python file, found none at {", ".join(map(str, tried))}')
        return Located.of(spec, read_code(path), name or None)
    module = target if name else f"{STRATEGIES}.{target}"
    file = module_file(module)
    if file is None or (known is not None and not name):
        known = shipped_strategies() if known is None else known
        raise SpecError(
            f'"{spec}": expected one of {", ".join(known)}, path/to/file.py:Class or package.module:Class'
            + nearest(spec, known)
        )
    return Located(spec, module, name or None, source_sha256(file.read_bytes()))


def module_file(module: str) -> Path | None:
    """Return the file of an installed module, or None; no package around it is imported, as `find_spec` would."""
    top, *inner = module.split(".")
    try:
        found = importlib.util.find_spec(top) if all((top, *inner)) else None
    except (ImportError, ValueError):  # ValueError: already imported, and of no origin
        found = None
    if found is None:
        return None
    file, folders = Path(found.origin or ""), list(found.submodule_search_locations or [])
    for name in inner:
        files = [Path(folder, *place) for folder in folders for place in ((name, "__init__.py"), (f"{name}.py",))]
        file = next((path for path in files if path.is_file()), Path())
        folders = [str(Path(folder, name)) for folder in folders]
    return file if file.is_file() else None


def load_class(located: Located, base: type) -> type:
    """Import the located source and return its class: the one named, or the file's only subclass of `base`.

    Raises:
        SpecError: the source does not import, or holds no such class, or the class does not derive from `base`.
    """
    module = import_module(located)
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


def import_module(located: Located) -> ModuleType:
    """Import the located source.

    Raises:
        SpecError: it does not import.
    """
    with guest(f'"{located.spec}" does not import'):
        return located.code.load() if located.code else importlib.import_module(str(located.module))
