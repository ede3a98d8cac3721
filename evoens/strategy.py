"""The Strategy: makes children and evolves them. Subclass it for a perturbation of your own."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from evoens.errors import CheckpointError, ShapeError
from evoens.genome import Gene, Genome, Mask
from evoens.parent import Parent
from evoens.scope import touches


@dataclass(frozen=True, slots=True)
class Record:
    """One evaluated child: its genome and its score on the search split, in the problem's unit."""

    genome: Genome
    score: float
    generation: int


class Strategy(ABC):
    """Makes children of one parent: `perturb` is the only method that must be written.

    `sigma` is the scale of a new gene; `density` and `parts` describe its mask (see `Mask`). The engine sets the rest
    before it asks: `scope`, which `ask` gives to new genes, says which tensors they touch, all when empty; `elites` are
    the genomes that stayed from the generation before.

    Raises:
        GenomeError: no gene can have this scale, or no mask this density and number of parts.
    """

    def __init__(self, sigma: float, density: float = 0.5, parts: int = 2) -> None:
        Gene(0, sigma, mask=Mask(0, density, parts))  # refuse now what could not be asked for later
        self.sigma, self.density, self.parts = sigma, density, parts
        self.scope: tuple[str, ...] = ()
        self.elites: tuple[Genome, ...] = ()

    @abstractmethod
    def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
        """Return the tensor `name` after `gene`: a new tensor of `weight`'s shape and dtype.

        Pure: the same arguments give the same bits on every machine, and `weight` is left as it is. Draw only through
        `evoens.noise`, by `name` and the gene's seeds.
        """

    def ask(self, n: int, rng: Random) -> list[Genome]:
        """Return `n` new genomes: mirrored × partitioned draws (dissertation eq. 4.8–4.11), on the elites in turn.

        One draw of noise and mask gives 2 · `parts` children. All randomness comes from `rng`.
        """
        genomes: list[Genome] = []
        draw = 0
        while len(genomes) < n:
            base = self.elites[draw % len(self.elites)] if self.elites else Genome()
            seed, mask_seed = rng.getrandbits(63), rng.getrandbits(63)
            genomes += [
                base.stacked(Gene(seed, self.sigma, sign, mask, scope=self.scope))
                for mask in (Mask(mask_seed, self.density, self.parts, part) for part in range(self.parts))
                for sign in (1, -1)
            ]
            draw += 1
        return genomes[:n]

    settled: float = 0.0
    """The share of a child's training after which `keep` gives the same."""

    def keep(self, name: str, weight: Tensor, gene: Gene, progress: float, step: int) -> Tensor | None:
        """Return which weights of the tensor `name` take part in one step of a child's training; None: all of them.

        Args:
            name: of the tensor.
            weight: as it is now.
            gene: the child's; each of its genes is asked.
            progress: how much of the training is done, 0 to 1; at 1 what is returned is the child's for good.
            step: the number of the step, from 0.

        Returns:
            bool, of `weight`'s shape. Pure, like `perturb`: draw through `evoens.noise` by name, seeds and step.
        """
        return None

    def tell(self, records: Sequence[Record]) -> None:  # noqa: B027 (a Strategy may well not care)
        """Learn from the evaluated children of a generation; only finite scores are told, higher is better."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything `tell` has changed, as JSON values; the base has no such state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Take up the state that `state_dict` returned."""


def grow(parent: Parent, strategy: Strategy, genome: Genome) -> dict[str, Tensor]:
    """Return a child's tensors, by name: those it was tuned to where children are tuned, else as it was born.

    Raises:
        CheckpointError: the weights it was tuned to are not there, or damaged.
        ShapeError: as `born`.
    """
    if parent.tuned is None:
        return born(parent, strategy, genome)
    return tuned_weights(parent.tuned, genome) if genome.genes else dict(parent.weights)


def tuned_file(folder: Path, genome: Genome) -> Path:
    """Return where in `folder` the weights of a tuned child are."""
    return folder / f"{genome.key}.safetensors"


def tuned_weights(folder: Path, genome: Genome) -> dict[str, Tensor]:
    """Return all tensors of a tuned child.

    Raises:
        CheckpointError: they are not there, or damaged.
    """
    path = tuned_file(folder, genome)
    try:
        return dict(load_file(path))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: expected the weights of a tuned child: {error}") from error


def born(parent: Parent, strategy: Strategy, genome: Genome) -> dict[str, Tensor]:
    """Return a child's perturbed tensors, by name: the genes applied to the parent's weights in order.

    A tensor that no gene touches is the parent's own.

    Raises:
        ShapeError: a perturbed tensor has another shape than the parent's.
    """
    weights = {}
    for name in parent.perturbed:
        weight = parent.weights[name]
        shape = weight.shape
        for gene in genome.genes:
            if touches(gene.scope, name):
                weight = strategy.perturb(name, weight, gene)
        if weight.shape != shape:  # copying into the child would broadcast it, unseen
            raise ShapeError(
                f"{type(strategy).__name__}.perturb({name!r}): expected {tuple(shape)}, found {tuple(weight.shape)}"
            )
        weights[name] = weight
    return weights
