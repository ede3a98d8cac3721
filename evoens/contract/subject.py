"""What a Strategy's contract is checked on: the class, a small parent, and a watch on the global random state."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from evoens import noise
from evoens.children import apply_final_mask, child_weights
from evoens.genome import Gene, Genome
from evoens.parent import Architecture, Parent, fingerprint
from evoens.scope import touches
from evoens.strategy import Strategy

SIGMA, CHILDREN = 0.02, 8
TWINS = ("1.weight", "2.weight")  # two tensors of one shape in the small network


class BrokenError(Exception):
    """A clause of the contract does not hold; the message says how, and why it matters."""


def require(holds: bool, message: str) -> None:
    """Raise `message` unless the clause holds."""
    if not holds:
        raise BrokenError(message)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Whether tensors of the same names have the same bits."""
    return fingerprint(a) == fingerprint(b)


def reseeded(gene: Gene) -> Gene:
    """Return a gene that differs in its seeds alone."""
    mask = None if gene.mask is None else replace(gene.mask, seed=gene.mask.seed ^ 1)
    return replace(gene, seed=gene.seed ^ 1, mask=mask)


@dataclass(frozen=True)
class Subject:
    """The class under test and a small parent; `arguments` are what it is made with, its own defaults where None."""

    cls: type[Strategy]
    parent: Parent
    arguments: Mapping[str, Any] | None = None

    def new(self) -> Strategy:
        """Make the Strategy as a run does."""
        usual = {**({"sigma": SIGMA} if self.cls.scaled else {}), "density": 0.5, "parts": 2}
        return self.cls(**(usual if self.arguments is None else self.arguments)).within(parent=self.parent)

    def genomes(self) -> list[Genome]:
        """Return the genomes that a new object asks for first."""
        return self.new().ask(CHILDREN, Random(0))

    def child(
        self, strategy: Strategy, genome: Genome, names: Sequence[str] | None = None, seed: int = 0
    ) -> dict[str, Tensor]:
        """Rebuild a child on copies of the weights, the global random state that of `seed` before every call."""
        weights = {}
        for name in names or self.parent.perturbed:
            weights[name] = self.parent.weights[name].clone()
            for gene in genome.genes:
                if touches(gene.scope, name):
                    with global_seed(seed):
                        weights[name] = strategy.perturb(name, weights[name].clone(), gene)
            with global_seed(seed):
                weights[name] = apply_final_mask(strategy, genome, name, weights[name])
        return weights

    def bits(self) -> list[str]:
        """Return each first child's key and the hash of its weights, as the engine grows them."""
        genomes = self.genomes()
        return [f"{g.key} {fingerprint(child_weights(self.parent, self.new(), g))}" for g in genomes]


def small_parent() -> Parent:
    """Return a network with two tensors of one shape, its weights from the portable streams."""
    layers = (nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(), nn.Flatten())
    module = nn.Sequential(*layers, nn.Linear(8 * 6 * 6, 5))
    for name, weight in module.state_dict().items():
        weight.copy_(noise.normals(1, name, weight.shape) * 0.1)
    return Parent(module, Architecture("torch.nn:Sequential"))


@contextmanager
def global_seed(seed: int) -> Iterator[None]:
    """Seed every global generator, and put them back as they were."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the global state is what is looked at)
    torch.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002
        torch.set_rng_state(states[2])
