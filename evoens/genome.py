"""Genomes: the few numbers from which a child is rebuilt, bit for bit, from its parent."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evoens.errors import GenomeError

WORD = 2**64
WORDS = 2**16  # masks are drawn in words of 16 bits
STRUCTURES = ("unstructured", "exact", "channels", "2:4")


def _require(holds: bool, what: str, found: object) -> None:
    if not holds:
        raise GenomeError(f"{what}, found {found!r}")


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _number(what: str, value: Any) -> float:
    """Return a finite float, never −0.0: equal numbers must have one canonical text, so equal genomes one key."""
    try:
        number = float(value) + 0.0
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    allowed = math.isfinite(number) and not isinstance(value, (bool, str))
    _require(allowed, f"{what}: expected a finite number", value)
    return number


def _named_numbers(pairs: Any) -> tuple[tuple[str, float], ...]:
    what = "gene.extra: expected (name, number) pairs in the order of their names, each name once"
    _require(isinstance(pairs, tuple) and all(isinstance(p, tuple) and len(p) == 2 for p in pairs), what, pairs)
    names = [name for name, _ in pairs]
    _require(all(isinstance(n, str) for n in names) and names == sorted(set(names)), what, pairs)
    return tuple((name, _number(f"gene.extra: {name}", value)) for name, value in pairs)


@dataclass(frozen=True, slots=True)
class Mask:
    """Which weights a gene touches: a Bernoulli draw, a mask or its anti-mask, or one part of a k-way partition.

    `parts` 1 keeps each weight with probability `density`. `parts` 2 splits the weights into a mask of that density
    (`part` 0) and its anti-mask (`part` 1). `parts` k > 2 splits them into k equal shares, so `density` is 1/k
    (dissertation 3.2: disjoint, and summing to one everywhere).

    `structure` says what is kept or left as one (dissertation 3.2.1):

    - `unstructured`: single weights, each by its own draw, so that a tensor's share is met on average.
    - `exact`: single weights, by rank, so that every tensor's share is met to the nearest weight.
    - `channels`: all weights that lead into a channel or a neuron (a tensor's first dimension), by rank.
    - `2:4`: two of every four neighbours among the inputs of a channel or neuron, as they lie in memory (for a
      convolution the kernel's places of one input channel after another's), and the other two for the anti-mask. Of a
      last group of fewer, the mask has the larger half.
    """

    seed: int
    density: float = 0.5
    parts: int = 1
    part: int = 0
    structure: str = "unstructured"

    def __post_init__(self) -> None:
        _require(_is_int(self.seed) and 0 <= self.seed < WORD, "mask.seed: expected an integer in [0, 2⁶⁴)", self.seed)
        object.__setattr__(self, "density", _number("mask.density", self.density))
        _require(0 < self.density <= 1, "mask.density: expected a number in (0, 1]", self.density)
        _require(
            _is_int(self.parts) and 1 <= self.parts <= WORDS,
            f"mask.parts: expected an integer in [1, {WORDS}]",
            self.parts,
        )
        _require(
            _is_int(self.part) and 0 <= self.part < self.parts,
            f"mask.part: expected an integer in [0, {self.parts})",
            self.part,
        )
        _require(
            self.parts <= 2 or abs(self.density * self.parts - 1) < 1e-2,
            f"mask.density: {self.parts} equal parts have density {1 / self.parts:.4g}",
            self.density,
        )
        expected = f"mask.structure: expected one of {', '.join(STRUCTURES)}"
        _require(isinstance(self.structure, str) and self.structure in STRUCTURES, expected, self.structure)
        if self.structure == "2:4":
            _require(self.density == 0.5, "mask.density: 2:4 has density 0.5", self.density)
            _require(self.parts <= 2, "mask.parts: 2:4 has a mask and an anti-mask, 1 or 2", self.parts)

    @property
    def share(self) -> float:
        """The share of weights that this part keeps."""
        if self.parts > 2:
            return 1 / self.parts
        return 1 - self.density if self.part else self.density


@dataclass(frozen=True, slots=True)
class Gene:
    """One perturbation: noise of `seed`, times `sign · scale`, where `mask` holds (everywhere without one).

    `extra` holds further named numbers that a Strategy of its own needs, in the order of their names; `scope` the
    tensors it touches (see `evoens.scope.touches`), all that may be perturbed when it is empty.
    """

    seed: int
    scale: float
    sign: int = 1
    mask: Mask | None = None
    extra: tuple[tuple[str, float], ...] = ()
    scope: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _require(_is_int(self.seed) and 0 <= self.seed < WORD, "gene.seed: expected an integer in [0, 2⁶⁴)", self.seed)
        object.__setattr__(self, "scale", _number("gene.scale", self.scale))
        _require(_is_int(self.sign) and self.sign in (1, -1), "gene.sign: expected 1 or -1", self.sign)
        _require(self.mask is None or isinstance(self.mask, Mask), "gene.mask: expected a Mask or None", self.mask)
        object.__setattr__(self, "extra", _named_numbers(self.extra))
        names = isinstance(self.scope, tuple) and all(isinstance(name, str) and name for name in self.scope)
        _require(names, "gene.scope: expected a tuple of names", self.scope)


@dataclass(frozen=True, slots=True)
class Genome:
    """Genes applied to the parent in order: one a generation, so an elite's child has one gene more than the elite."""

    genes: tuple[Gene, ...] = ()

    def __post_init__(self) -> None:
        right = isinstance(self.genes, tuple) and all(isinstance(gene, Gene) for gene in self.genes)
        _require(right, "genome: expected a tuple of genes", self.genes)

    def stacked(self, gene: Gene) -> Genome:
        """Return this genome with `gene` applied last."""
        return Genome((*self.genes, gene))

    def to_json(self) -> list[dict[str, Any]]:
        """Return plain lists, dicts and numbers; `Genome.from_json` is the exact inverse."""
        return [_row(gene) for gene in self.genes]

    @classmethod
    def from_json(cls, rows: object) -> Genome:
        """Rebuild a genome from `to_json`'s rows.

        Raises:
            GenomeError: a row has a missing or unknown key, or a value out of its bounds.
        """
        _require(isinstance(rows, list), "genome: expected a list of genes", rows)
        return cls(tuple(_gene(row) for row in rows))  # type: ignore[attr-defined]

    @property
    def canonical(self) -> str:
        """The one JSON text of this genome: sorted keys, no spaces, shortest floats that read back exactly."""
        return json.dumps(self.to_json(), sort_keys=True, separators=(",", ":"), allow_nan=False)

    @property
    def key(self) -> str:
        """The sha256 of the canonical form, in hexadecimal: the name of this child everywhere."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()


def _row(gene: Gene) -> dict[str, Any]:
    """Return a gene as JSON; fields that came later are left out where they say nothing, so that keys stay."""
    row: dict[str, Any] = {"seed": gene.seed, "scale": gene.scale, "sign": gene.sign, "mask": None}
    if mask := gene.mask:
        row["mask"] = {"seed": mask.seed, "density": mask.density, "parts": mask.parts, "part": mask.part}
        if mask.structure != "unstructured":
            row["mask"]["structure"] = mask.structure
    row["extra"] = dict(gene.extra)
    if gene.scope:
        row["scope"] = list(gene.scope)
    return row


def _gene(row: object) -> Gene:
    _require(isinstance(row, Mapping), "gene: expected an object", row)
    fields = dict(row)  # type: ignore[call-overload]
    try:
        mask = fields.pop("mask", None)
        extra = tuple(sorted(fields.pop("extra", {}).items()))
        scope = tuple(fields.pop("scope", ()))
        return Gene(mask=None if mask is None else Mask(**mask), extra=extra, scope=scope, **fields)
    except (TypeError, AttributeError) as error:
        raise GenomeError(f"gene: expected seed, scale, sign, mask, extra, scope, found {row!r}") from error
