"""What a class takes, read from its source: to check a YAML without importing the class, and torch with it."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from evoens.errors import SpecError, nearest
from evoens.plugins.spec import Located, module_file

_IMPORTS = ast.Import | ast.ImportFrom


@dataclass(frozen=True, slots=True)
class Signature:
    """The keyword arguments of a class, each with whether it must be given, and whether it has a scale."""

    arguments: dict[str, bool]
    scaled: bool = True


def read_signature(located: Located) -> Signature | None:
    """Return what the located class is made with, or None where only an import can tell.

    Raises:
        SpecError: the source does not parse, imports a package that is not installed, or holds no such class.
    """
    path = _origin(located.module) if isinstance(located.module, str) else located.module
    if path is None:
        return None
    tree = _parse(path, located)
    _check_imports(tree, path, located)
    name = located.name or _only_class(tree, located)
    if name is None:
        return None
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    if name not in classes and name not in _names(tree):
        raise SpecError(f'"{located.spec}": expected a class {name} in {path}, found none{nearest(name, classes)}')
    signature = _signature(tree, name)
    return signature and Signature(signature.arguments, _scaled(tree, name))


def check_source(located: Located) -> None:
    """Check, as far as that goes without an import, that the located source imports and holds what is named.

    Raises:
        SpecError: as `read_signature`.
    """
    path = _origin(located.module) if isinstance(located.module, str) else located.module
    if path is None:
        return
    tree = _parse(path, located)
    _check_imports(tree, path, located)
    nodes = list(ast.walk(tree))
    made = [node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    bound = [node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]
    imported = [alias.asname or alias.name for node in nodes if isinstance(node, _IMPORTS) for alias in node.names]
    known = {*made, *bound, *imported}
    if located.name not in known and "*" not in known:
        hint = nearest(str(located.name), made)
        raise SpecError(f'"{located.spec}": expected a class or function {located.name} in {path}, found none{hint}')


def _parse(path: Path, located: Located) -> ast.Module:
    try:
        return ast.parse(path.read_bytes())
    except SyntaxError as error:
        place = f"{path}:{error.lineno}:{error.offset}"
        raise SpecError(f'"{located.spec}": expected Python, found an error at {place}: {error.msg}') from error
    except (OSError, ValueError) as error:
        raise SpecError(f'"{located.spec}": expected Python in {path}, found what cannot be read: {error}') from error


def _check_imports(tree: ast.Module, path: Path, located: Located) -> None:
    beside = {Path(helper).parts[0].removesuffix(".py") for helper in (located.code.files if located.code else ())}
    for node in tree.body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names = [node.module]
        for name in names:
            package = name.split(".")[0]
            if package not in beside and not _installed(package):
                raise SpecError(f'"{located.spec}": {path}:{node.lineno} imports {package}, which is not installed')


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):  # ValueError: already imported, and of no origin
        return True


def _only_class(tree: ast.Module, located: Located) -> str | None:
    """The class meant by a file alone: an import decides where several could be it."""
    derived = [node.name for node in tree.body if isinstance(node, ast.ClassDef) and node.bases]
    if not derived and not _names(tree):
        raise SpecError(f'"{located.spec}": expected a class derived from Strategy in the file, found none')
    return derived[0] if len(derived) == 1 else None


def _names(tree: ast.Module) -> dict[str, tuple[str, str]]:
    """The names that a file imports from modules, each with the module and the name there."""
    found: dict[str, tuple[str, str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found |= {alias.asname or alias.name: (node.module, alias.name) for alias in node.names}
    return found


def _signature(tree: ast.Module, name: str) -> Signature | None:
    """Follow the class to the `__init__` it uses, through its first bases, over files."""
    for node, home in _lineage(tree, name):
        if node is None or node.decorator_list:
            return None
        init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
        if init is None:
            continue
        own = _arguments(init.args)
        if init.args.kwarg is None:
            return Signature(own)
        base = node.bases[0] if len(node.bases) == 1 else None
        further = _signature(home, base.id) if isinstance(base, ast.Name) else None
        return further and Signature(further.arguments | own)
    return None


def _scaled(tree: ast.Module, name: str) -> bool:
    """Whether the class has a scale: the value of `scaled` that the class or the nearest base gives."""
    for node, _ in _lineage(tree, name):
        for line in node.body if node else ():
            targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
            if any(isinstance(target, ast.Name) and target.id == "scaled" for target in targets):
                value = getattr(line, "value", None)
                return not (isinstance(value, ast.Constant) and value.value is False)
    return True


def _lineage(tree: ast.Module, name: str) -> Iterator[tuple[ast.ClassDef | None, ast.Module]]:
    """Yield the class and its first bases, each with the file it is in; None where the trail is lost."""
    for _ in range(32):
        node = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == name), None)
        if node is None:
            module, name = _names(tree).get(name, ("", name))
            path = _origin(module)
            if path is None:
                break
            tree = ast.parse(path.read_bytes())
            continue
        yield node, tree
        if len(node.bases) != 1 or not isinstance(node.bases[0], ast.Name):
            break
        name = node.bases[0].id
    yield None, tree


def _arguments(arguments: ast.arguments) -> dict[str, bool]:
    plain = [*arguments.posonlyargs, *arguments.args][1:]
    needed = len(plain) - len(arguments.defaults)
    found = {argument.arg: i < needed for i, argument in enumerate(plain)}
    keywords = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    return found | {argument.arg: default is None for argument, default in keywords}


def _origin(module: str) -> Path | None:
    """Return the file that tells what a module holds: its stub, where it has one, as one that imports lazily does."""
    file = module_file(module)
    if file is None or file.suffix != ".py":
        return None
    return stub if (stub := file.with_suffix(".pyi")).is_file() else file
