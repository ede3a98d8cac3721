"""The architecture: how to build a network anew, from a name and JSON values, running no code but what that names."""

from __future__ import annotations

import contextlib
import copy
import importlib
import inspect
import math
import random
import sysconfig
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TypeGuard

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from evoens.errors import ShapeError, SpecError, nearest
from evoens.network.adapt import adapted
from evoens.plugins.guest import guest
from evoens.plugins.own_code import Code
from evoens.plugins.spec import Located, import_module, locate

TORCHVISION = "torchvision.models"
GIVEN = "<module>"  # in the stead of a place: the network was handed over as it is
_READ: dict[tuple[Path, str], Code] = {}  # a run saves the code it was begun with, whatever becomes of the files


@dataclass(frozen=True, slots=True)
class Architecture:
    """How to build the module anew, from JSON values alone.

    Attributes:
        target: `package.module:Class`, a torch.nn.Module; `torchvision.models:name`, any of its classifiers; or
            `path/to/file.py:name`, a torch.nn.Module class or a function that returns a module; `<module>:Class`, one
            that was given as it is, which only a `GivenModule` can build.
        arguments: its keyword arguments.
        sha256: of the file, as it must be when the module is built; a path cannot go without.
        helpers: the sha256 of each file of a user's own that this one imports, by its path from the file's folder.
    """

    target: str
    arguments: dict[str, Any] = field(default_factory=dict)
    sha256: str | None = None
    helpers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, code: Code, name: str, arguments: dict[str, Any]) -> Architecture:
        """Return how to build what a user's own code calls `name`."""
        found = cls(f"{code.path}:{name}", arguments, code.sha256, code.helpers)
        _READ[found._key] = code
        return found

    def to_json(self, helpers: bool = True) -> dict[str, Any]:
        """Return plain values; `Architecture(**values)` is the inverse, where the helpers are not left out."""
        found = asdict(self)
        return {key: value for key, value in found.items() if key != "helpers" or (helpers and value)}

    def build(self) -> nn.Module:
        """Build the module, its weights not yet loaded.

        Raises:
            SpecError: there is no such class or function, its file has changed, or it does not take these arguments.
            EvoensError: whatever else the class itself finds wrong.
        """
        if self.given:
            name = self.target.rpartition(":")[2]
            raise SpecError(f"expected the network, as in load_ensemble(…, model={name}(…)), found only its name")
        with guest(f'"{self.target}" cannot be built'):
            module = self._builder()(**self.arguments)
        if not isinstance(module, nn.Module):
            raise SpecError(f'"{self.target}": expected a torch.nn.Module, found {type(module).__name__}')
        return module if self.target.startswith("evoens.") else adapted(module, self.target)

    def outline(self) -> nn.Module:
        """Build the module for its tensors' names and shapes alone: where its code is known, without their memory.

        Raises:
            SpecError: as `build`.
        """
        if not self.own:
            with contextlib.suppress(SpecError), torch.device("meta"):
                return self.build()
        return self.build()

    def _builder(self) -> Callable[..., object]:
        """Return the class or function; nothing else may be called, since the name comes from a file."""
        place, _, name = self.target.rpartition(":")
        recorded = self.own or self.sha256 is not None
        source = import_module(self.source()) if recorded else importlib.import_module(place)
        found = getattr(source, name, None)
        if not _builds(found, source, place):
            known = [n for n, value in vars(source).items() if _builds(value, source, place)]
            wanted = "expected a torch.nn.Module class, or a function of torchvision.models or a file"
            raise TypeError(f"{wanted}, found no such {name!r}{nearest(name, known)}")
        return found

    @property
    def given(self) -> bool:
        """Whether the module was given as it is, which does not say how it was made."""
        return self.target.startswith(GIVEN)

    @property
    def own(self) -> bool:
        """Whether the module is from a user's own file."""
        return self.target.rpartition(":")[0].endswith(".py")

    @property
    def _key(self) -> tuple[Path, str]:
        return Path(self.target.rpartition(":")[0]), repr([self.sha256, sorted(self.helpers.items())])

    def source(self) -> Located:
        """Return the target's file, as it was when it was recorded; what has moved is looked for right here.

        Raises:
            SpecError: there is none, it has changed, or it belongs to an installed package.
        """
        place, _, name = self.target.rpartition(":")
        if self._key in _READ:
            return Located.of(self.target, _READ[self._key], name)
        moved = self.own and not Path(place).is_file()
        found = locate(f"{Path(place).name}:{name}" if moved else self.target, [Path(place).parent, Path()])
        same = found.code.is_main(self.sha256) if found.code else found.sha256 == self.sha256
        if not same:
            expected = f"sha256 {self.sha256[:16]}…" if self.sha256 else "the sha256 of the file beside its name"
            raise SpecError(f'"{self.target}": expected {expected}, found a file with {found.sha256[:16]}…')
        if isinstance(found.module, Path) and _installed(found.module):  # their hashes are no secret
            raise SpecError(f'"{self.target}": expected a file of your own, found one of an installed package')
        return found

    def files(self) -> dict[str, bytes]:
        """Return the files of a user's own network, the one that is named first, then its helpers."""
        code = self.source().code
        return dict(code.files) if code else {}

    def require_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Compare the network with the tensors of a file before any memory is taken for it.

        A user's own network that cannot be built without memory is left as it is.

        Raises:
            ShapeError: a tensor has another shape, or the network is far larger than the file.
            SpecError: as `build`.
        """
        try:
            with torch.device("meta"), _at_most(2 * len(shapes) + 64):
                own = self.build().state_dict(keep_vars=True)
        except ShapeError:
            raise
        except SpecError:
            if self.own:
                return
            raise
        for name in sorted(own.keys() & shapes.keys()):
            if tuple(own[name].shape) != shapes[name]:
                raise ShapeError(f"{name}: expected shape {tuple(own[name].shape)}, found {shapes[name]}")
        size = sum(value.numel() for value in {id(value): value for value in own.values()}.values())
        there = sum(math.prod(shape) for shape in shapes.values())
        if size > 2 * there + 1024:  # parametrised weights are saved as plain ones
            raise ShapeError(f"{self.target}: expected a network of {there} numbers, as there are, found one of {size}")


@dataclass(frozen=True, slots=True)
class GivenModule(Architecture):
    """The architecture of a module that is given as it is: it is built anew by copying, here and now only."""

    module: nn.Module = field(default_factory=nn.Identity, compare=False, repr=False)

    @classmethod
    def of_module(cls, module: nn.Module) -> GivenModule:
        """Take a copy of `module`, on the CPU; the caller's stays as it is.

        Raises:
            SpecError: it is no module, or cannot be copied.
        """
        if not isinstance(module, nn.Module):
            raise SpecError(f"model=: expected a torch.nn.Module, found {type(module).__name__}")
        target = f"{GIVEN}:{type(module).__qualname__}"
        activations = (v for layer in module.modules() for v in vars(layer).values() if isinstance(v, Tensor))
        detached = {id(v): v.detach() for v in activations if not v.is_leaf}  # nothing else could be copied
        with guest(f'"{target}" cannot be copied'):
            module = copy.deepcopy(module, dict(detached)).cpu()
        return cls(target, module=adapted(module, target))

    def build(self) -> nn.Module:
        """Return a copy, with the weights it was given with."""
        return copy.deepcopy(self.module)

    def to_json(self, helpers: bool = True) -> dict[str, Any]:
        """See `Architecture.to_json`."""
        return Architecture(self.target).to_json(helpers)


@contextmanager
def _at_most(number: int) -> Iterator[None]:
    """End a build that makes more parameters than this: it would not end by itself."""
    made = 0

    def count(module: nn.Module, name: str, parameter: object) -> None:
        """Count one parameter more."""
        nonlocal made
        made += 1
        if made > number:
            raise ShapeError(f"{type(module).__name__}.{name}: expected at most {number} parameters in all, found more")

    hook = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        hook.remove()


def global_state() -> dict[str, bytes]:
    """Return the state of every global generator, by its module's name."""
    _, key, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    return {
        "random": repr(random.getstate()).encode(),
        "numpy.random": np.asarray(key).tobytes() + repr(rest).encode(),
        "torch": torch.get_rng_state().numpy().tobytes(),
    }


@contextmanager
def unset() -> Iterator[None]:
    """Work as if neither default device nor default dtype had been set; and leave them as the caller has them."""
    dtype, on_cpu = torch.get_default_dtype(), torch.get_default_device().type == "cpu"
    torch.set_default_dtype(torch.float32)
    try:
        with nullcontext() if on_cpu else torch.device("cpu"):
            yield
    finally:
        torch.set_default_dtype(dtype)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Build networks as if nothing had been set, and leave the generators of torch, NumPy and Python as they are."""
    of_numpy, of_python = np.random.get_state(), random.getstate()  # noqa: NPY002
    try:
        with torch.random.fork_rng(), unset():
            yield
    finally:
        np.random.set_state(of_numpy)  # noqa: NPY002
        random.setstate(of_python)


def _builds(value: object, source: ModuleType, place: str) -> TypeGuard[Callable[..., object]]:
    """Whether `value`, found in the module or file that a target names with `place`, may be called."""
    if not inspect.isfunction(value):
        return isinstance(value, type) and issubclass(value, nn.Module)
    shipped = place == TORCHVISION and value.__name__ in source.list_models(module=source)
    return shipped or (place.endswith(".py") and value.__module__ == source.__name__)


def _installed(file: Path) -> bool:
    packages = {"site-packages", "dist-packages"}
    return file.is_relative_to(Path(sysconfig.get_path("stdlib")).resolve()) or bool(packages & set(file.parts))
