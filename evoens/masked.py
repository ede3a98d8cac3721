"""Strategies whose genes are masks and nothing else: what the sparse and the annealed children have in common."""

from __future__ import annotations

from random import Random

from evoens.errors import SpecError
from evoens.genome import Gene, Genome, Mask
from evoens.scope import NOT, touches
from evoens.strategy import Strategy


class Masked(Strategy):
    """Children that are a part of their parent: no scale, no sign, a gene that says which weights they have.

    Each child starts from the parent anew, since a mask over an elite's mask would leave ever fewer weights.

    Args:
        density: the share of weights that a mask keeps; 1/`parts` where there are more than two.
        parts: 1 draws a mask for every child; 2 a mask and its anti-mask (dissertation eq. 5.2, 5.3); k disjoint masks
            that sum to one everywhere (3.2.2).
        structure: what is kept or left as one; see `evoens.genome.Mask`.
        output: whether the output layer has masks too. Its channels are the classes, and are never left out.

    Raises:
        GenomeError: no mask is like that.
        SpecError: `channels` with `output`.
    """

    scaled = False

    def __init__(
        self, density: float = 0.5, parts: int = 2, *, structure: str = "unstructured", output: bool = False
    ) -> None:
        super().__init__(1.0, density, parts)
        Mask(0, density, parts, 0, structure)
        if structure == "channels" and output:
            raise SpecError("structure: expected one of single weights where output is true, found channels")
        self.structure, self.output = structure, output

    def ask(self, n: int, rng: Random) -> list[Genome]:
        """Return `n` new genomes of one gene each; one draw gives `parts` children."""
        scope, extra = self.masked(), self.extra()
        genomes: list[Genome] = []
        while len(genomes) < n:
            seed = rng.getrandbits(63)
            for part in range(self.parts):
                mask = Mask(seed, self.density, self.parts, part, self.structure)
                genomes.append(Genome((Gene(rng.getrandbits(63), 1.0, 1, mask, extra, scope),)))
        return genomes[:n]

    def extra(self) -> tuple[tuple[str, float], ...]:
        """Return the named numbers that new genes have; none unless a Strategy needs some."""
        return ()

    def masked(self) -> tuple[str, ...]:
        """Return the scope of new genes: the run's, without the output layer, the last that may be perturbed.

        Raises:
            SpecError: nothing is left of it.
        """
        if self.parent is None or self.output:
            return self.scope
        scope = (*self.scope, f"{NOT}{self.parent.perturbed[-1]}")
        if not any(touches(scope, name) for name in self.parent.perturbed):
            raise SpecError("output: expected true, since the output layer is all there is to mask, found false")
        return scope


def one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    """Return the `value` of the argument `name`.

    Raises:
        SpecError: it is none of `known`.
    """
    if value not in known:
        raise SpecError(f"{name}: expected one of {', '.join(known)}, found {value!r}")
    return value
