"""Labelled tensors as they come from Python: a split is a pair of tensors, or a torch Dataset of such pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, default_collate

from evoens.errors import ProblemError
from evoens.plugins.guest import guest
from evoens.tasks.data.images import Images, digest


@dataclass(frozen=True, eq=False)
class Tensors(Images):
    """A split of inputs `(m, *input)` of any dtype, as the network takes them; see `Images`."""

    def take(self, which: Tensor) -> Tensor:
        """Return the inputs at `which` `(k,)` of these, `(k, *input)`."""
        return self.pixels.index_select(0, self.places[which])

    def bytes_of(self, images: Tensor) -> bytes:
        """See `Images.bytes_of`."""
        return images.contiguous().view(torch.uint8).numpy().tobytes()


def read_tensors(name: str, data: Any) -> Tensors:
    """Return a split of labelled inputs; a Dataset is read once, into memory.

    Args:
        name: of the split, for messages.
        data: inputs `(n, *input)` and their classes `(n,)`, tensors or arrays; or a Dataset of such pairs.

    Raises:
        ProblemError: it is something else.
    """
    with guest(f"{name}=: expected a pair of tensors, inputs and classes, or a torch Dataset of pairs", ProblemError):
        inputs, labels = _collated(data) if isinstance(data, Dataset) else data
        inputs, labels = (torch.as_tensor(part).detach().cpu() for part in (inputs, labels))
    if labels.dim() != 1 or labels.is_floating_point() or labels.is_complex():
        found = f"{str(labels.dtype).removeprefix('torch.')} of shape {tuple(labels.shape)}"
        raise ProblemError(f"{name}=: expected a class, an integer, for each input, found {found}")
    if inputs.dim() == 0 or len(inputs) != len(labels) or not len(labels):
        found = f"inputs of shape {tuple(inputs.shape)} and {len(labels)} classes"
        raise ProblemError(f"{name}=: expected as many inputs as classes, at least one, found {found}")
    if inputs.is_floating_point() and not (finite := torch.isfinite(inputs).flatten(1).all(1)).all():
        first = int((~finite).nonzero()[0])
        raise ProblemError(f"{name}=: expected finite numbers, found NaN or infinity, first in input {first}")
    if inputs.dtype == torch.float64:  # as NumPy has them; networks are in float32
        inputs = inputs.float()
    return Tensors(inputs, torch.arange(len(labels)), labels.long())


def _collated(data: Any) -> Any:
    rows = data if isinstance(data, IterableDataset) else (data[place] for place in range(len(data)))
    return default_collate(list(rows))


def require_alike(splits: Mapping[str, Tensors]) -> None:
    """Raise where the inputs of a split are of another shape or dtype than those of another.

    Raises:
        ProblemError: there is one.
    """
    (first, shape), *others = ((name, _kind(split)) for name, split in splits.items())
    for name, found in others:
        if found != shape:
            raise ProblemError(f"{name}=: expected inputs as those of {first}=, {shape}, found {found}")


def _kind(split: Tensors) -> str:
    sizes = ", ".join(["n", *map(str, split.pixels.shape[1:])])
    return f"{str(split.pixels.dtype).removeprefix('torch.')} of shape ({sizes})"


def seen_before(splits: Mapping[str, Tensors]) -> list[str]:
    """Return a sentence if inputs of a split, in their bytes, are those of one before it: then neither is unseen."""
    owners: dict[bytes, str] = {}
    found: dict[str, int] = {}
    for name, split in splits.items():
        keys = {digest(split.bytes_of(row[None])) for row in split.all()}
        found[name] = sum(owners.setdefault(key, name) != name for key in keys)
    said = ", ".join(f"{count} of {name}" for name, count in found.items() if count)
    return [f"inputs that are in another split too: {said}"] if said else []
