"""The state dict that a checkpoint holds: found by its tensors' names, whatever keys and prefixes stand around them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Size, Tensor

DEEPEST = 4  # mappings within mappings that are looked into
_WRAPPERS = ("_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module", "module")
"""What torch puts into names, from torch.compile to DataParallel; the last may be a network's own, too."""
_WHOLE = {*_WRAPPERS, "model", "net", "network"}
"""Parts of a training script's object that are the network; beside them lie losses and metrics."""
_KNOWN = {*_WHOLE, "state_dict", "model_state_dict", "params", "weights"}
"""Keys under which scripts put the state dict; under others may lie gradients or moments of the same shapes."""
_LEFT = {"n_averaged", "total_ops", "total_params", "num_batches_tracked"}
"""Last parts of names that say nothing of what a network answers: averaging and profilers count, and BatchNorm does."""
_AVERAGED = re.compile(r"(^|[._])(ema|swa|avg|averaged?)([._]|$)")


@dataclass(frozen=True)
class Wanted:
    """The tensors of a network, by name, and for each name the first of the same tensor: one of them is enough."""

    shapes: Mapping[str, Size]
    first: Mapping[str, str]


@dataclass(frozen=True)
class Found:
    """Tensors of one network in a checkpoint.

    Attributes:
        words: the keys and the parts of the prefix under which they lie.
        weights: the tensors, by the network's own names.
        beside: names that lie beside them, under the same key, and are left out.
        averaged: whether they are a mean over a training.
    """

    words: tuple[str, ...]
    weights: dict[str, Tensor]
    beside: tuple[str, ...]
    averaged: bool

    @property
    def name(self) -> str:
        """Where they lie, as it can be said."""
        return ".".join(self.words) or "the file itself"


def state_dicts(content: Any, wanted: Wanted) -> list[Found]:
    """Return all that fit a network of tensors `wanted`: raw before averaged, under known keys before others."""
    found: list[Found] = []
    for words, tensors in _mappings(content):
        fits = (list(_within(words, names, tensors, wanted)) for names in _renamed(tensors))
        found += next(filter(None, fits), [])
    return sorted(found, key=lambda one: (one.averaged, not _KNOWN.issuperset(one.words)))


def nearest_state_dict(content: Any, wanted: Wanted) -> dict[str, Tensor]:
    """Return the tensors that have most names in common with those wanted, none where there are none at all."""
    best: dict[str, Tensor] = {}
    for _, tensors in _mappings(content):
        for names in _renamed(tensors):
            for prefix in _prefixes(names, wanted):
                inner = {n.removeprefix(prefix): tensors[old] for n, old in names.items() if n.startswith(prefix)}
                if not best or len(inner.keys() & wanted.shapes.keys()) > len(best.keys() & wanted.shapes.keys()):
                    best = inner
    return best


def described(content: Any) -> list[dict[str, Any]]:
    """Return each state dict of a checkpoint: where it lies, what torch put into its names, and its shapes."""
    return [
        {
            "under": ".".join(words) or "the file itself",
            "tensors": len(tensors),
            "numbers": sum(value.numel() for value in tensors.values()),
            "wrapped_by": [word for word in _WRAPPERS if all(word in name.split(".") for name in tensors)],
            "shapes": {name: "×".join(map(str, value.shape)) or "a number" for name, value in tensors.items()},
        }
        for words, tensors in _mappings(content)
    ]


def _mappings(content: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], dict[str, Tensor]]]:
    """Yield every mapping that has tensors by name, with the keys that lead to it."""
    if not isinstance(content, Mapping) or len(words) > DEEPEST:
        return
    tensors = {name: _tensor(value) for name, value in content.items() if isinstance(name, str) and _numbers(value)}
    if tensors:
        yield words, tensors
    for name, value in content.items():
        yield from _mappings(value, (*words, str(name)))


def _numbers(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "biuf")


def _tensor(value: Any) -> Tensor:
    return value if isinstance(value, Tensor) else torch.tensor(value)


def _renamed(tensors: Mapping[str, Tensor]) -> Iterator[dict[str, str]]:
    """Yield the tensors' own names by the names they may be meant by: as they are, then without what torch puts in."""
    for count in (0, len(_WRAPPERS) - 1, len(_WRAPPERS)):
        names = {".".join(part for part in name.split(".") if part not in _WRAPPERS[:count]): name for name in tensors}
        if len(names) == len(tensors):
            yield names


def _prefixes(names: Mapping[str, str], wanted: Wanted) -> list[str]:
    """Return what stands before names that are expected; none first."""
    found = {"": None}
    for name in names:
        parts = name.split(".")
        found |= {".".join(parts[:i]) + ".": None for i in range(1, len(parts)) if ".".join(parts[i:]) in wanted.shapes}
    return list(found)


def _within(
    words: tuple[str, ...], names: Mapping[str, str], tensors: Mapping[str, Tensor], wanted: Wanted
) -> Iterator[Found]:
    """Yield the networks that lie under some prefix of these names, and fit."""
    for prefix in _prefixes(names, wanted):
        inner = {n.removeprefix(prefix): tensors[old] for n, old in names.items() if n.startswith(prefix)}
        inner = {name: value for name, value in inner.items() if name in wanted.shapes or not _left(name)}
        outer = [old for name, old in names.items() if not name.startswith(prefix) and not _left(name)]
        parts = tuple(part for part in prefix.split(".") if part)
        whole = not outer or (parts and all(part in _WHOLE or _AVERAGED.search(part) for part in parts))
        if whole and _fit(inner, wanted):
            averaged = bool(_AVERAGED.search(".".join((*words, *parts)))) or "n_averaged" in tensors
            yield Found((*words, *parts), inner, tuple(outer), averaged)


def _fit(inner: Mapping[str, Tensor], wanted: Wanted) -> bool:
    """Whether these are tensors of the network, of its shapes, and each that is needed is there by one of its names."""
    if any(value.shape != wanted.shapes.get(name) for name, value in inner.items()):
        return False
    return {wanted.first[name] for name in wanted.shapes if not _left(name)} <= {wanted.first[name] for name in inner}


def _left(name: str) -> bool:
    return name.rpartition(".")[2] in _LEFT
