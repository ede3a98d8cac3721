"""How a genome becomes a child's weights: perturbed, and where children are trained, read from where they are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from weakref import ReferenceType, WeakKeyDictionary, ref

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from evoens.errors import ShapeError, SpecError
from evoens.genome import Gene, Genome
from evoens.parent import Parent
from evoens.plugins.guest import guest
from evoens.scope import touches
from evoens.storage.files import write_atomic
from evoens.storage.tensor_file import load_tensors
from evoens.strategy import Strategy


@dataclass(frozen=True)
class TunedWeights:
    """Store of the weights of trained children: a file for each genome in `folder`."""

    folder: Path

    def file(self, genome: Genome) -> Path:
        """Return where the weights of a child are."""
        return self.folder / f"{genome.key}.safetensors"

    def __contains__(self, genome: Genome) -> bool:
        return self.file(genome).is_file()

    def count(self) -> int:
        """Return how many children were trained to their end."""
        return sum(1 for _ in self.folder.glob("*.safetensors"))

    def load(self, genome: Genome) -> dict[str, Tensor]:
        """Return all tensors of a child.

        Raises:
            CheckpointError: they are not there, or damaged.
        """
        return load_tensors(self.file(genome), "the weights of a tuned child")

    def save(self, genome: Genome, weights: Mapping[str, Tensor], spent: Mapping[str, float] | None = None) -> None:
        """Keep all tensors of a child, and in the file's header what its training has `spent`, by name."""
        header = {name: repr(value) for name, value in (spent or {}).items()}
        plain = {name: value.contiguous() for name, value in weights.items()}
        write_atomic(self.file(genome), save(plain, metadata=header or None))

    def spent(self) -> dict[str, float]:
        """Return what all children together have spent, by name, as far as that was counted of every one."""
        found = [_header(file) for file in sorted(self.folder.glob("*.safetensors"))]
        names = set[str]().union(*found)
        return {name: sum(own[name] for own in found) for name in names if all(name in own for own in found)}


def _header(file: Path) -> dict[str, float]:
    with safe_open(file, "pt") as tensors:
        return {name: float(value) for name, value in (tensors.metadata() or {}).items() if name != "format"}


def child_weights(
    parent: Parent, strategy: Strategy, genome: Genome, tuned: TunedWeights | None = None
) -> dict[str, Tensor]:
    """Return a child's tensors, by name: those it was trained to, else those it is born with.

    One that is not trained has at once what `Strategy.train_mask` leaves it in the end.

    Args:
        parent: of the child.
        strategy: perturbs it.
        genome: what the child is.
        tuned: where trained children are; None where none is trained, or not yet.

    Raises:
        CheckpointError: the weights it was trained to are not there, or damaged.
        ShapeError: as `initial_weights`.
    """
    if tuned is None:
        return {
            name: apply_final_mask(strategy, genome, name, weight)
            for name, weight in initial_weights(parent, strategy, genome).items()
        }
    return tuned.load(genome) if genome.genes else dict(parent.weights)


def touched(parent: Parent, grown: Iterable[Mapping[str, Tensor]]) -> frozenset[str]:
    """Return the names of the tensors in which one of some children, each as `child_weights` gives it, has its own."""
    own = parent.weights
    return frozenset(name for weights in grown for name, weight in weights.items() if weight is not own[name])


def apply_final_mask(strategy: Strategy, genome: Genome, name: str, weight: Tensor) -> Tensor:
    """Return the tensor `name` with zeros where a gene keeps nothing in the end; itself where all is kept."""
    for gene in genome.genes:
        if touches(gene.scope, name):
            part = train_mask(strategy, name, weight, gene, progress=1.0, step=0)
            weight = weight if part is None else torch.where(part, weight, 0.0)
    return weight


def train_mask(
    strategy: Strategy, name: str, weight: Tensor, gene: Gene, *, progress: float, step: int
) -> Tensor | None:
    """Return `Strategy.train_mask`, which is given a copy of the weight: what it writes into that changes nothing.

    Raises:
        ShapeError: it is no mask of this weight.
        SpecError: it raised something.
    """
    whose = f"{type(strategy).__name__}.train_mask({name!r})"
    with guest(whose):
        part = strategy.train_mask(name, torch._lazy_clone(weight), gene, progress, step)
    if part is not None and (found := _kind(part)) != (expected := f"bool {tuple(weight.shape)}"):
        raise ShapeError(f"{whose}: expected {expected}, found {found}")  # it would be broadcast, unseen
    return part


def initial_weights(parent: Parent, strategy: Strategy, genome: Genome) -> dict[str, Tensor]:
    """Return a child's perturbed tensors, by name, from which its training starts: genes applied in order.

    A tensor that no gene touches is the parent's own.

    Raises:
        ShapeError: a perturbed tensor has another shape than the parent's.
        SpecError: `perturb` raised something, or wrote into the weight that it was given.
    """
    plain = {name: parent.weights[name] for name in parent.perturbed}
    if not genome.genes:
        return plain
    before, kept = genome.genes[:-1], _STEMS.get(parent)
    if kept is None or kept.strategy() is not strategy or kept.genes != before:
        kept = _STEMS[parent] = _Stem(ref(strategy), before, _after(plain, before, strategy))
    return _after(kept.weights, genome.genes[-1:], strategy)


@dataclass(frozen=True)
class _Stem:
    """What children of one elite, or of one centre, have in common: all but the last gene, and the tensors after it."""

    strategy: ReferenceType[Strategy]
    genes: tuple[Gene, ...]
    weights: dict[str, Tensor]


_STEMS = WeakKeyDictionary[Parent, _Stem]()  # of each parent that of the last child, so that siblings share the work


def _after(weights: Mapping[str, Tensor], genes: Sequence[Gene], strategy: Strategy) -> dict[str, Tensor]:
    """Return the tensors after `genes`, applied in order."""
    found = {}
    for name, before in weights.items():
        weight = before
        for gene in genes:
            if touches(gene.scope, name):
                weight = _perturbed(strategy, name, weight, gene)
        found[name] = weight
    return found


def _perturbed(strategy: Strategy, name: str, weight: Tensor, gene: Gene) -> Tensor:
    whose = f"{type(strategy).__name__}.perturb({name!r})"
    given = torch._lazy_clone(weight)  # copied when it is written into, and only then: so it spoils no parent
    with guest(whose):
        found = strategy.perturb(name, given, gene)
    copied = not torch._C._is_cow_tensor(given)  # type: ignore[attr-defined]
    written = not given.is_inference() and given._version  # in inference mode nobody counts
    if written or (copied and not torch.equal(given, weight)):
        raise SpecError(f"{whose}: expected a new tensor, found that it writes into the parent's weight, in place")
    if (kind := _kind(found)) != (expected := _kind(weight)):  # copying into the child would cast and broadcast, unseen
        raise ShapeError(f"{whose}: expected {expected}, found {kind}")
    return found


def _kind(value: object) -> str:
    """The dtype of a tensor and its shape; of anything else the type."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}"
