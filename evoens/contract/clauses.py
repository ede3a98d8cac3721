"""The clauses of a Strategy's contract: each returns what it found, or raises with what is broken and why it matters.

A child is stored as its genome alone, so a Strategy that cannot rebuild the same bits later, elsewhere and in any
order loses the children it found.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random

import torch
from torch import Tensor

from evoens.architecture import global_state
from evoens.contract.keeping import train_mask
from evoens.contract.reading import element_wise, names, scope
from evoens.contract.subject import (
    CHILDREN,
    SIGMA,
    BrokenError,
    Subject,
    global_seed,
    require,
    same,
)
from evoens.genome import Genome
from evoens.parent import fingerprint
from evoens.strategy import Record

# ---- construction and asking


def _constructs(s: Subject) -> str:
    usual = "sigma, density and parts" if s.cls.scaled else "density and parts, having no scale"
    try:
        strategy = s.new()
    except TypeError as error:
        raise BrokenError(f"{error}: it must be made from {usual}, with a default for all of its own") from error
    kept = all(hasattr(strategy, name) for name in ("sigma", "density", "parts", "elites"))
    require(kept, "sigma, density, parts or elites is not set: call super().__init__(sigma, density, parts)")
    return f"from {usual}"


def _genomes(s: Subject) -> str:
    genomes = s.genomes()
    right = isinstance(genomes, list) and all(isinstance(g, Genome) for g in genomes)
    require(right and bool(genomes), f"ask must return a list of Genome, found {str(genomes)[:80]}")
    require(all(g.genes for g in genomes), "a genome has no gene: it is the parent, and its evaluation is wasted")
    for genome in genomes:
        back = Genome.from_json(json.loads(json.dumps(genome.to_json())))
        require(back == genome, f"a genome does not survive JSON: {genome} came back as {back}")
    return f"{len(genomes)} genomes, the same after JSON"


def _count(s: Subject) -> str:
    strategy, rng = s.new(), Random(0)
    genomes = []
    for n in (1, 7, 16):
        asked = strategy.ask(n, rng)
        require(len(asked) == n, f"ask({n}) returned {len(asked)} genomes: the population would shrink or grow unseen")
        genomes += asked
    again = len(genomes) - len({g.key for g in genomes})
    require(
        again == 0, f"{again} of {len(genomes)} genomes were asked for twice: a later generation repeats an earlier one"
    )
    return "ask(n) returns n genomes, none twice"


def _repeatable(s: Subject) -> str:
    asked = []
    for seed in (1, 2):
        with global_seed(seed):
            asked.append([g.key for g in s.new().ask(CHILDREN, Random(5))])
    require(
        asked[0] == asked[1],
        "ask returned other genomes for the same rng: draw from rng alone, or a resumed run takes another path",
    )
    return "the same rng gives the same genomes"


def _elites(s: Subject) -> str:
    elites = tuple(s.genomes()[:2])
    asked = s.new().within(elites=elites).ask(CHILDREN, Random(9))
    bred = sum(any(g.genes[: len(e.genes)] == e.genes for e in elites) for g in asked)
    return f"{bred} of {len(asked)} children continue an elite" if bred else "every child starts from the parent anew"


# ---- perturbing


def _shape(s: Subject) -> str:
    strategy, gene = s.new(), s.genomes()[0].genes[-1]
    for name in s.parent.perturbed:
        weight = s.parent.weights[name].clone()
        found = strategy.perturb(name, weight, gene)
        require(isinstance(found, Tensor), f"perturb must return a tensor, found {type(found).__name__}")
        for what in ("shape", "dtype", "device"):
            a, b = getattr(weight, what), getattr(found, what)
            require(a == b, f"perturb({name!r}) returned {what} {b}, expected {a}: the child could not be loaded")
        require(
            not found.requires_grad, f"perturb({name!r}) returned a tensor that requires gradients: children keep none"
        )
    return "shape, dtype and device stay"


def _finite(s: Subject) -> str:
    strategy = s.new()
    for genome in s.genomes():
        for name, weight in s.child(strategy, genome).items():
            bad = int((~torch.isfinite(weight)).sum())
            require(bad == 0, f"{bad} of {weight.numel()} weights of {name} are NaN or infinite: the child would fail")
    return "every weight is a number"


def _leaves_input(s: Subject) -> str:
    strategy = s.new()
    for genome in s.genomes():
        for name in s.parent.perturbed:
            given = s.parent.weights[name].clone()
            strategy.perturb(name, given, genome.genes[-1])
            unchanged = same({name: given}, {name: s.parent.weights[name]})
            require(
                unchanged,
                f"perturb({name!r}) changed the weight it was given, in place: that is the parent's own tensor",
            )
    return "the weight it is given stays as it is"


def _pure(s: Subject) -> str:
    strategy, genomes = s.new(), s.genomes()
    first = [s.child(strategy, g) for g in genomes]
    why = "a child could never be rebuilt from its genome"
    again = [s.child(strategy, g) for g in genomes]
    require(all(map(same, first, again)), f"perturb gave other bits for the same arguments: {why}")
    elsewhere = [s.child(s.new(), g, seed=1) for g in genomes]
    require(
        all(map(same, first, elsewhere)),
        f"a child depends on a global random state; draw through evoens.noise, by name and the gene's seed: {why}",
    )
    names = s.parent.perturbed[::-1]
    backwards = [s.child(s.new(), g, names) for g in genomes[::-1]][::-1]
    require(all(map(same, first, backwards)), f"perturb depends on what was perturbed before: {why}")
    strategy.tell([Record(g, float(i), 0) for i, g in enumerate(genomes)])
    told = [s.child(strategy, g) for g in genomes]
    require(all(map(same, first, told)), f"tell changed what perturb returns; put what it learns into new genes: {why}")
    return "the same arguments give the same bits, in any order"


def _global_random(s: Subject) -> str:
    gene = s.genomes()[0].genes[-1]
    for name in s.parent.perturbed:
        with global_seed(1):
            before = global_state()
            s.new().perturb(name, s.parent.weights[name].clone(), gene)
            moved = [name for name, state in global_state().items() if state != before[name]]
        require(not moved, f"perturb draws from or seeds the global state of {' and '.join(moved)}: use evoens.noise")
    return "no global random state is changed"


def _gene(s: Subject) -> str:
    strategy, genomes = s.new(), s.genomes()
    seen = {fingerprint({n: s.parent.weights[n] for n in s.parent.perturbed}): "the parent"}
    for place, genome in enumerate(genomes):
        bits = fingerprint(s.child(strategy, genome))
        twin = seen.get(bits)
        require(
            twin is None,
            f"child {place} has the same weights as {twin}, though the genomes differ: perturb leaves out the gene's "
            "seed, sign or mask, and evaluations are wasted",
        )
        seen[bits] = f"child {place}"
    return "every gene gives another child"


def _scale(s: Subject) -> str:
    if not s.cls.scaled:
        return "it has no scale"
    steps = []
    for sigma in (1e-6, SIGMA):
        strategy = s.new().within(sigma=sigma)  # as the search for σ does
        child = s.child(strategy, strategy.ask(CHILDREN, Random(0))[0])
        steps.append(max(float((child[n] - s.parent.weights[n]).norm()) for n in child))
    if steps[0] > 0.1 * steps[1]:
        return "warning: a child at self.sigma = 1e-6 is as far from the parent as at 0.02: fix σ, do not search for it"
    return "a smaller σ stays nearer to the parent"


# ---- telling, and going on later


def _state(s: Subject) -> str:
    known = {"elites": tuple(s.genomes()[:2])}
    strategy, rng = s.new().within(**known), Random(3)
    for generation in range(2):
        strategy.tell(_scored(strategy.ask(CHILDREN, rng), generation))
    state = strategy.state_dict()
    try:
        stored = json.loads(json.dumps(state, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise BrokenError(
            f"state_dict is not JSON ({error}): use numbers, strings, lists and dicts with string keys"
        ) from error
    other = s.new().within(**known)
    other.load_state_dict(stored)
    for generation in (2, 3):
        asked = [one.ask(CHILDREN, Random(generation)) for one in (strategy, other)]
        require(
            asked[0] == asked[1],
            "a new object that loaded state_dict asks for other genomes: it forgets something that ask or tell has "
            "changed, so a resumed run takes another path",
        )
        for one in (strategy, other):
            one.tell(_scored(asked[0], generation))
    return "a resumed Strategy goes on as the first would have"


def _scored(genomes: Sequence[Genome], generation: int) -> list[Record]:
    return [Record(genome, place * 0.37 % 1, generation) for place, genome in enumerate(genomes)]


def _failures(s: Subject) -> str:
    strategy = s.new()
    for generation in range(2):
        records = _scored(strategy.ask(CHILDREN, Random(generation)), generation)
        strategy.tell(records[::3])  # failed children are not told
    asked = len(strategy.ask(CHILDREN, Random(5)))
    require(
        asked == CHILDREN,
        f"after children had failed, ask({CHILDREN}) returned {asked}: tell gets the finite scores only",
    )
    return "goes on when children have failed"


PURE = "perturb: pure"

CLAUSES: tuple[tuple[str, Callable[[Subject], str], bool], ...] = (  # name, clause, whether the rest depends on it
    ("constructs", _constructs, True),
    ("ask: genomes", _genomes, True),
    ("ask: count", _count, False),
    ("ask: repeatable", _repeatable, False),
    ("ask: elites", _elites, False),
    ("ask: scope", scope, False),
    ("perturb: shape", _shape, True),
    (PURE, _pure, False),  # before the clause of `train_mask`, whose masks are a part of the child too
    ("train_mask", train_mask, True),
    ("perturb: finite", _finite, False),
    ("perturb: in place", _leaves_input, False),
    ("perturb: global random state", _global_random, False),
    ("perturb: gene", _gene, False),
    ("perturb: names", names, False),
    ("perturb: element-wise", element_wise, False),
    ("perturb: scale", _scale, False),
    ("state", _state, False),
    ("failed children", _failures, False),
)

FOLLOWS = {
    "perturb: gene": {"perturb: global random state"},
    "perturb: names": {"perturb: pure", "perturb: global random state"},
    "state": {"ask: repeatable"},
}
"""Clauses that say nothing of their own where one of others does not hold."""
