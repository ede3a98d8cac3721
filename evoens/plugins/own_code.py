"""A user's own Python file and its helpers, the files beside it that it imports: hashed, carried, and run apart."""

from __future__ import annotations

import ast
import builtins
import hashlib
import importlib.abc
import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

PREFIX = "evoens_user_"
_INIT = "__init__.py"


def source_sha256(data: bytes) -> str:
    """Return the sha256 of a source with Unix line ends: git writes others on some systems."""
    return hashlib.sha256(_unix(data)).hexdigest()


def is_source(data: bytes, sha256: str | None) -> bool:
    """Whether a source is the one that was hashed, whatever line ends it had then and has now."""
    kinds = (data, _unix(data), _unix(data).replace(b"\n", b"\r\n"))
    return sha256 in {hashlib.sha256(kind).hexdigest() for kind in kinds}


def _unix(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")


@dataclass(frozen=True)
class Code:
    """One file and its helpers, as they were read; `files` has their bytes, by their paths from the folder they share.

    Attributes:
        path: where the file was found.
        files: the file itself first, then its helpers.
    """

    path: Path
    files: Mapping[str, bytes]

    @property
    def main(self) -> str:
        """The file itself, as `files` names it."""
        return next(iter(self.files))

    @property
    def sha256(self) -> str:
        """Of the file itself."""
        return source_sha256(self.files[self.main])

    def is_main(self, sha256: str | None) -> bool:
        """Whether the file itself is the one that was hashed."""
        return is_source(self.files[self.main], sha256)

    @property
    def helpers(self) -> dict[str, str]:
        """The sha256 of each helper."""
        return {name: source_sha256(data) for name, data in self.files.items() if name != self.main}

    def load(self) -> ModuleType:
        """Run the file, once a process, and return its module; helpers are run when they are imported.

        Names are private to these files: no other code sees the helpers, and helpers of one name never mix.
        """
        modules = {_dotted(name): name for name in self.files}
        key = hashlib.sha256(repr([str(self.path), *sorted(self.files.items())]).encode()).hexdigest()
        library = _Library(f"{PREFIX}{key[:16]}", self, modules)
        try:
            return library.load(_dotted(self.main))
        except BaseException:
            for name in [name for name in sys.modules if name.split(".")[0] == library.package]:
                del sys.modules[name]
            raise


def read_code(path: Path) -> Code:
    """Read a file and, from its folder or the working folder, all files that it or one of these imports.

    Raises:
        OSError: it cannot be read.
    """
    found, roots = {path.name: path.read_bytes()}, (path.parent, Path.cwd())
    open_ones = [path.name]
    while open_ones:
        name = open_ones.pop()
        for module in _imported(name, found[name]):
            for helper, file in _files_of(module, roots):
                if helper not in found:
                    found[helper] = file.read_bytes()
                    open_ones.append(helper)
    return Code(path, found)


def _imported(name: str, data: bytes) -> Iterator[str]:
    """Every dotted name that some import of a source could mean; none where it does not parse."""
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return
    around = PurePosixPath(name).parent.parts
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = around[: len(around) - node.level + 1] if node.level else ()
            base = ".".join([*above, *filter(None, [node.module])])
            yield from (".".join(filter(None, [base, alias.name])) for alias in node.names)


def _files_of(module: str, roots: Sequence[Path]) -> Iterator[tuple[str, Path]]:
    """The files of a module and of the packages around it, as far as they are a user's own."""
    parts = module.split(".")
    if parts[0] in sys.stdlib_module_names or parts[0].startswith("evoens"):
        return
    for root in roots:
        places = [root.joinpath(*parts[: depth + 1]) for depth in range(len(parts))]
        files = [file for place in places for file in (place / _INIT, place.with_suffix(".py")) if file.is_file()]
        if files and (_top(files[0], root) or not _installed(parts[0])):
            yield from ((file.relative_to(root).as_posix(), file) for file in files)
            return


def _top(file: Path, root: Path) -> bool:
    """Whether a file is a module right in `root`, or makes a folder there a package: those come before all others."""
    return file.parent == root or (file.name == _INIT and file.parent.parent == root)


def _installed(package: str) -> bool:
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):  # ValueError: already imported, and of no origin
        return True
    return found is not None and found.origin is not None


def _dotted(name: str) -> str:
    path = PurePosixPath(name)
    path = path.parent if path.name == _INIT else path.with_suffix("")
    return ".".join(part.replace(".", "_") for part in path.parts)


@dataclass(frozen=True)
class _Library:
    """The modules of one `Code` below a package of their own; `modules` has their files by dotted name."""

    package: str
    code: Code
    modules: Mapping[str, str]

    def load(self, module: str) -> ModuleType:
        """Return a module of these files or a folder of such, run now if it was not yet."""
        name = f"{self.package}.{module}" if module else self.package
        if name in sys.modules:
            return sys.modules[name]
        if module and not self._has(module):
            raise ModuleNotFoundError(f"No module named {module!r}")
        around, _, last = module.rpartition(".")
        parent = self.load(around) if module else None
        file = self.modules.get(module, f"{module.replace('.', '/')}/{_INIT}")  # a folder need not have one
        loader = _Loader(self.code.path.parent / file, self.code.files.get(file, b""), self._import)
        spec = importlib.util.spec_from_loader(name, loader)
        assert spec is not None
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations = []  # nothing comes from there but what was read
        made = sys.modules[name] = importlib.util.module_from_spec(spec)
        try:
            loader.exec_module(made)
        except BaseException:
            sys.modules.pop(name, None)
            raise
        if parent is not None:
            setattr(parent, last, made)
        return made

    def _has(self, module: str) -> bool:
        return any(known == module or known.startswith(f"{module}.") for known in self.modules)

    def _import(
        self,
        name: str,
        globals: Mapping[str, Any] | None = None,
        locals: Mapping[str, Any] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        """What `import` does in these files: their own modules first, then everybody's."""
        full = name
        if level and globals:
            around = str(globals["__package__"]).removeprefix(self.package).removeprefix(".")
            parts = around.split(".") if around else []
            full = ".".join([*parts[: len(parts) - level + 1], *filter(None, [name])])
        if not (level or self._has(name.partition(".")[0])) or (level and full and not self._has(full)):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        module = self.load(full)
        for part in fromlist or ():
            inner = f"{full}.{part}" if full else part
            if not hasattr(module, part) and self._has(inner):
                self.load(inner)
        return module if fromlist else self.load(full.partition(".")[0])


class _Loader(importlib.abc.ExecutionLoader):
    """Runs a source that was read before, with an `import` of its own."""

    def __init__(self, path: Path, data: bytes, own_import: Callable[..., ModuleType]) -> None:
        self.path, self.data, self.own_import = path, data, own_import

    def get_filename(self, fullname: str) -> str:
        """See `importlib`."""
        return str(self.path)

    def get_source(self, fullname: str) -> str:
        """See `importlib`."""
        return importlib.util.decode_source(self.data)

    def is_package(self, fullname: str) -> bool:
        """See `importlib`."""
        return self.path.name == _INIT

    def exec_module(self, module: ModuleType) -> None:
        """See `importlib`; functions of the module keep this `import` too."""
        vars(module)["__builtins__"] = {**vars(builtins), "__import__": self.own_import}
        super().exec_module(module)
