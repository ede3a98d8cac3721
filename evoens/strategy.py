"""The Strategy: makes children and evolves them. Subclass it for a perturbation of your own."""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, ClassVar, Protocol

from torch import Tensor
from typing_extensions import Self

from evoens.errors import SpecError
from evoens.genome import Gene, Genome, Mask
from evoens.parent import Parent
from evoens.plugins.guest import guest


@dataclass(frozen=True, slots=True)
class Record:
    """One evaluated child: its genome and its score on the search split, in the problem's unit.

    `traits` is what a Search that asks for more has measured beside the score, by name.
    """

    genome: Genome
    score: float
    generation: int
    traits: Mapping[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Context:
    """What children are asked for with; a value, which nobody changes.

    Attributes:
        sigma: the scale of a new gene.
        scope: which tensors new genes touch; all when empty.
        elites: the genomes that stayed from the generation before.
        parent: the network whose children are asked for.
    """

    sigma: float
    scope: tuple[str, ...] = ()
    elites: tuple[Genome, ...] = ()
    parent: Parent | None = None


class Strategy(ABC):
    """Makes children of one parent: `perturb` is the only method that must be written.

    `density` and `parts` describe the mask of a new gene (see `Mask`). What a run has found out so far is in its
    `Context`, which reads as `sigma`, `scope`, `elites` and `parent`: the engine asks a Strategy `within` one, and sets
    no attribute. An ensemble is rebuilt with the same `parent` and `scope`; what else `perturb` needs to know belongs
    into genes.

    Raises:
        GenomeError: no gene can have this scale, or no mask this density and number of parts.
    """

    scaled: ClassVar[bool] = True
    """Whether `sigma` means anything; a class without a scale is made without it, and no run searches for one."""
    _context = Context(0.0)

    def __init_subclass__(cls, **more: Any) -> None:
        """Let a class written for evoens 0.1 keep its names: `keep`, `until` and `settled`."""
        super().__init_subclass__(**more)
        for names in (("train_mask", "keep"), ("mask_valid_until", "until")):  # either finds what the other is
            own = next(vars(c) for c in cls.__mro__ if not vars(c).keys().isdisjoint(names))
            found = next(own[name] for name in names if name in own)
            for name in names:
                if getattr(cls, name) is not found:
                    setattr(cls, name, found)
        if "settled" in vars(cls):
            cls.mask_fixed_from = vars(cls)["settled"]
            del cls.settled

    def __init__(self, sigma: float, density: float = 0.5, parts: int = 2) -> None:
        Gene(0, sigma, mask=Mask(0, density, parts))  # refuse now what could not be asked for later
        self._context, self.density, self.parts = Context(sigma), density, parts

    def within(self, **known: Any) -> Self:
        """Return a copy that asks with what is `known`: fields of `Context`; the others stay as they are here."""
        found = copy.copy(self)
        found._context = replace(self._context, **known)
        return found

    @property
    def sigma(self) -> float:
        """The scale of a new gene; a Strategy that adapts it sets its own."""
        return self._context.sigma

    @sigma.setter
    def sigma(self, sigma: float) -> None:
        self._context = replace(self._context, sigma=sigma)

    @property
    def scope(self) -> tuple[str, ...]:
        """Which tensors new genes touch; all when empty."""
        return self._context.scope

    @property
    def elites(self) -> tuple[Genome, ...]:
        """The genomes that stayed from the generation before."""
        return self._context.elites

    @property
    def parent(self) -> Parent | None:
        """The network whose children are asked for."""
        return self._context.parent

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

    mask_fixed_from: float = 0.0
    """The share of a child's training after which `train_mask` gives the same."""

    def mask_valid_until(self, progress: float) -> float:
        """Return up to which progress `train_mask` gives what it gives at `progress`.

        From `mask_fixed_from` on, to the end.
        Where that is more than `progress`, weights left out are out for good, zero from there on. Where it is not, they
        are left out of one step alone, and keep their values.
        """
        return 1.0 if progress >= self.mask_fixed_from else progress

    @property
    def settled(self) -> float:
        """`mask_fixed_from`, by the name that it had in evoens 0.1."""
        return self.mask_fixed_from

    @settled.setter
    def settled(self, share: float) -> None:
        self.mask_fixed_from = share

    def train_mask(self, name: str, weight: Tensor, gene: Gene, progress: float, step: int) -> Tensor | None:
        """Return which weights of the tensor `name` take part in one step of a child's training; None: all of them.

        Args:
            name: of the tensor.
            weight: as it is now.
            gene: the child's; each of its genes is asked.
            progress: how much of the training is done, 0 to 1; at 1 what is returned is the child's for good, trained
                or not.
            step: the number of the step, from 0.

        Returns:
            bool, of `weight`'s shape. Pure, like `perturb`: draw through `evoens.noise` by name, seeds and step.
        """
        return None

    keep, until = train_mask, mask_valid_until  # their names in evoens 0.1

    def tell(self, records: Sequence[Record]) -> None:  # noqa: B027 (a Strategy may well not care)
        """Learn from the evaluated children of a generation; only finite scores are told, higher is better."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything `tell` has changed, as JSON values; the base has no such state."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:  # noqa: B027
        """Take up the state that `state_dict` returned."""


class Asked(Protocol):
    """Whoever is asked for genomes and learns from their scores: a Strategy, or the Search that asks it."""

    @property
    def ask(self) -> Callable[..., Sequence[Genome]]:
        """See `Strategy.ask`."""

    def tell(self, records: Sequence[Record]) -> None:
        """See `Strategy.tell`."""

    def state_dict(self) -> dict[str, Any]:
        """See `Strategy.state_dict`."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See `Strategy.load_state_dict`."""


def learnt(who: Asked) -> dict[str, Any]:
    """Return one's state, as a run that goes on will find it; SpecError where it raises something, or is no JSON."""
    with guest(f"{type(who).__name__}.state_dict"):
        state: dict[str, Any] = json.loads(json.dumps(who.state_dict()))
        return state


def learn(who: Asked, state: dict[str, Any]) -> None:
    """Have one take up its state; SpecError where it raises something."""
    with guest(f"{type(who).__name__}.load_state_dict"):
        who.load_state_dict(state)


def tell(who: Asked, records: Sequence[Record]) -> None:
    """Tell one what its children have scored; SpecError where it raises something."""
    with guest(f"{type(who).__name__}.tell"):
        who.tell(records)


def ask(who: Asked, n: int, rng: Random, *context: Context) -> list[Genome]:
    """Return the genomes that one asks for; a Search is given the context, a Strategy is `within` its own.

    Raises:
        SpecError: it raised something, or did not give `n` genomes.
    """
    whose = f"{type(who).__name__}.ask({n})"
    with guest(whose):
        genomes = list(who.ask(n, rng, *context))
    if len(genomes) != n or not all(isinstance(genome, Genome) for genome in genomes):
        raise SpecError(f"{whose}: expected {n} genomes, found {len(genomes)}")
    return genomes
