"""The clauses of a Strategy's contract about what its children hang on: the tensor's name, its elements, the scope."""

from __future__ import annotations

from random import Random

from torch import Tensor

from evoens.contract.subject import CHILDREN, TWINS, Subject, require, reseeded, same
from evoens.scope import touches

MOVED = 2  # elements that may change when one does: where it was, and where it is moved to


def names(s: Subject) -> str:
    """Check that tensors of one shape get their own noise, and their own masks."""
    gene, weight = s.genomes()[0].genes[-1], s.parent.weights[TWINS[0]]
    mine, other = (s.new().perturb(name, weight.clone(), gene) for name in TWINS)
    again = s.new().perturb(TWINS[0], weight.clone(), reseeded(gene))
    for alike in (_same, lambda a, b: _same_noise(a, b, weight)):
        require(
            not alike(mine, other) or alike(mine, again),
            f"{TWINS[0]} and {TWINS[1]}, of equal shape, get the same noise: draw by the tensor's name as well as the "
            "seed",
        )
    return "perturb draws no noise" if _same(mine, other) else "tensors of equal shape get different noise"


def _same(a: Tensor, b: Tensor) -> bool:
    return same({"": a}, {"": b})


def _same_noise(a: Tensor, b: Tensor, weight: Tensor) -> bool:
    """Whether two children moved alike what both of them moved: their masks may differ, and yet not their noise."""
    both = (a != weight) & (b != weight)
    return bool(both.any()) and bool((a == b)[both].double().mean() > 0.5)


def element_wise(s: Subject) -> str:
    """Check that no sum over elements is in a child's weights: its last bits hang on the machine and its threads.

    The largest element is doubled, so that no rank changes; what is masked out, or left as it is, is not rounded.
    """
    for genome in s.genomes():
        for name in s.parent.perturbed:
            weight = s.parent.weights[name]
            doubled = weight.clone()
            doubled.view(-1)[weight.abs().argmax()] *= 2
            given = (weight, weight, doubled)
            again, before, after = (s.new().perturb(name, one.clone(), genome.genes[-1]) for one in given)
            touched = (again == before) & (before != weight) & (after != weight) & (before != 0) & (after != 0)
            moved = int((touched & (before != after)).sum())
            require(
                moved <= MOVED,
                f"perturb({name!r}) moves {moved} elements when one is changed: a sum, mean, norm or product over a "
                "tensor has other last bits on another machine; ask can put such a number into the gene, as `extra`",
            )
    return "each weight's bits hang on no sum over others"


def scope(s: Subject) -> str:
    """Check that what is asked for stays in the scope that the engine has set."""
    genomes = s.new().within(scope=(TWINS[0],)).ask(CHILDREN, Random(0))
    rest = [name for name in s.parent.perturbed if name != TWINS[0]]
    without = sum(all(any(touches(g.scope, name) for name in rest) for g in genome.genes) for genome in genomes)
    require(
        without == 0,
        f"{without} of {len(genomes)} genomes leave self.scope out: whatever the YAML says, all tensors are perturbed",
    )
    return "genes have the scope that was set"
