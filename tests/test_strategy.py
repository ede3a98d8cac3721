"""The base Strategy: how it asks, and how a genome is grown into a child."""

import re
import weakref
from collections import Counter
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from evoens.children import child_weights, initial_weights
from evoens.errors import GenomeError, ShapeError
from evoens.genome import Gene, Genome, Mask
from evoens.parent import Architecture, Parent
from evoens.strategy import Record, Strategy


class Affine(Strategy):
    """Twice the weight plus the gene's scale: the order of the genes shows."""

    def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
        return 2 * weight + gene.scale


def parent() -> Parent:
    torch.manual_seed(0)
    return Parent(nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), Architecture("torch.nn:Sequential"))


@pytest.mark.parametrize("parts", [1, 2, 3, 4, 8])
def test_one_draw_gives_every_part_with_both_signs(parts: int) -> None:
    density = 1 / parts if parts > 2 else 0.2
    genomes = Affine(0.03, density, parts).ask(3 * 2 * parts, Random(0))
    draws: dict[tuple[int, int], Counter[tuple[int, int]]] = {}
    for genome in genomes:
        (gene,) = genome.genes
        assert gene.mask is not None
        assert (gene.scale, gene.mask.density, gene.mask.parts) == (0.03, density, parts)
        draws.setdefault((gene.seed, gene.mask.seed), Counter())[gene.sign, gene.mask.part] += 1
    assert len(draws) == 3
    for pairs in draws.values():
        assert pairs == Counter({(sign, part): 1 for sign in (1, -1) for part in range(parts)})


def test_genes_touch_their_own_scope_only() -> None:
    strategy, network = Affine(0.5), parent()
    assert all(gene.scope == () for genome in strategy.ask(4, Random(0)) for gene in genome.genes)
    strategy = strategy.within(scope=("2",))
    (genome,) = strategy.ask(1, Random(0))
    whole = genome.stacked(Gene(1, 0.25))
    once, twice = child_weights(network, strategy, genome), child_weights(network, strategy, whole)
    assert once["0.weight"] is network.weights["0.weight"]
    assert torch.equal(once["2.weight"], 2 * network.weights["2.weight"] + 0.5)
    assert torch.equal(twice["0.weight"], 2 * network.weights["0.weight"] + 0.25)
    assert torch.equal(twice["2.weight"], 2 * once["2.weight"] + 0.25)


def test_seeds_of_noise_and_mask_are_all_different() -> None:
    genes = [g.genes[0] for g in Affine(0.03).ask(400, Random(0))]
    assert len({gene.seed for gene in genes} | {gene.mask.seed for gene in genes if gene.mask}) == 200


@pytest.mark.parametrize("n", [0, 1, 3, 4, 5, 16, 31])
def test_exactly_n_are_returned_and_fewer_are_the_first_of_more(n: int) -> None:
    genomes = Affine(0.03).ask(n, Random(5))
    assert len(genomes) == n
    assert genomes == Affine(0.03).ask(40, Random(5))[:n]
    assert len({g.key for g in genomes}) == n


def test_asking_is_deterministic_in_rng_alone() -> None:
    assert Affine(0.03).ask(8, Random("a")) == Affine(0.03).ask(8, Random("a"))
    assert Affine(0.03).ask(8, Random("a")) != Affine(0.03).ask(8, Random("b"))


def test_seeds_are_published() -> None:
    """Python's Random is a Mersenne twister whose `getrandbits` is stable across releases."""
    (genome,) = Affine(0.5).ask(1, Random(0))
    rng = Random(0)
    assert genome == Genome((Gene(rng.getrandbits(63), 0.5, 1, Mask(rng.getrandbits(63), 0.5, 2, 0)),))
    assert genome.genes[0].seed == 3553260803050964941


def test_draws_are_stacked_on_the_elites_in_turn() -> None:
    strategy = Affine(0.03)
    strategy = strategy.within(elites=(Genome((Gene(1, 0.1),)), Genome((Gene(2, 0.1), Gene(3, 0.1))), Genome()))
    genomes = strategy.ask(16, Random(0))
    for place, genome in enumerate(genomes):
        elite = strategy.elites[place // 4 % 3]
        assert genome.genes[:-1] == elite.genes
    plain = Affine(0.03).ask(16, Random(0))
    assert [g.genes[-1] for g in genomes] == [g.genes[-1] for g in plain]  # the draws are those of a first generation


def test_sigma_set_later_is_the_scale_of_new_genes() -> None:
    strategy = Affine(1.0)
    strategy = strategy.within(sigma=0.25)
    assert {g.genes[0].scale for g in strategy.ask(4, Random(0))} == {0.25}


def test_base_learns_nothing_and_has_no_state() -> None:
    strategy = Affine(0.03)
    before = strategy.ask(8, Random(1))
    strategy.tell([Record(g, 1.0, 0) for g in before])
    assert strategy.state_dict() == {}
    strategy.load_state_dict({})
    assert strategy.ask(8, Random(1)) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sigma": float("nan")}, "gene.scale"),
        ({"sigma": "auto"}, "gene.scale"),
        ({"sigma": 0.1, "density": 0.0}, "mask.density"),
        ({"sigma": 0.1, "parts": 4}, r"4 equal parts have density 0\.25"),
        ({"sigma": 0.1, "parts": 0}, "mask.parts"),
    ],
)
def test_what_could_not_be_asked_for_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(GenomeError, match=message):
        Affine(**arguments)


def test_perturb_must_be_written() -> None:
    with pytest.raises(TypeError, match="perturb"):
        Strategy(0.1)  # type: ignore[abstract]


def test_masks_last_for_a_step_until_they_are_fixed() -> None:
    strategy = Affine(0.1)
    assert (strategy.mask_fixed_from, strategy.mask_valid_until(0.0), strategy.mask_valid_until(0.7)) == (0.0, 1.0, 1.0)
    strategy.mask_fixed_from = 0.5
    assert (strategy.mask_valid_until(0.2), strategy.mask_valid_until(0.49), strategy.mask_valid_until(0.5)) == (
        0.2,
        0.49,
        1.0,
    )


def test_a_class_with_the_names_of_evoens_0_1_is_asked_as_before() -> None:
    class Old(Affine):
        settled = 0.25

        def keep(self, name: str, weight: Tensor, gene: Gene, progress: float, step: int) -> Tensor | None:
            return torch.zeros_like(weight, dtype=torch.bool)

        def until(self, progress: float) -> float:
            return progress / 2

    class Further(Old):
        def train_mask(self, name: str, weight: Tensor, gene: Gene, progress: float, step: int) -> Tensor | None:
            left_out = super().keep(name, weight, gene, progress, step)
            return None if left_out is None else ~left_out

    weight, old, new = torch.ones(2), Old(0.1), Further(0.1)
    assert old.mask_fixed_from == old.settled == new.mask_fixed_from == 0.25
    assert old.mask_valid_until(1.0) == new.until(1.0) == 0.5

    class Plainly(Affine):
        def keep(self, name: str, weight: Tensor, gene: Gene, progress: float, step: int) -> Tensor | None:
            return super().keep(name, weight, gene, progress, step)

        def until(self, progress: float) -> float:
            return super().until(progress)

    class Keeps:
        def keep(self, name: str, weight: Tensor, gene: Gene, progress: float, step: int) -> Tensor | None:
            return weight == 1

    class Mixed(Keeps, Affine):
        pass

    assert Plainly(0.1).train_mask("w", weight, Gene(1, 1.0), 0.0, 0) is None
    assert Plainly(0.1).mask_valid_until(0.0) == 1.0
    assert torch.equal(Mixed(0.1).train_mask("w", weight, Gene(1, 1.0), 0.0, 0), weight == 1)  # type: ignore[arg-type]
    assert torch.equal(old.train_mask("w", weight, Gene(1, 1.0), 0.0, 0), weight == 0)  # type: ignore[arg-type]
    for asked in (new.train_mask, new.keep):  # type: ignore[attr-defined]
        assert torch.equal(asked("w", weight, Gene(1, 1.0), 0.0, 0), weight == 1)
    new.settled = 0.5
    assert (new.mask_fixed_from, old.mask_fixed_from) == (0.5, 0.25)


# ---- growing


def test_a_child_that_is_not_tuned_has_what_its_genes_keep_in_the_end() -> None:
    class Last(Affine):
        def train_mask(self, name: str, weight: Tensor, gene: Gene, progress: float, step: int) -> Tensor | None:
            return (
                None if gene.seed == 3 else torch.arange(weight.numel()).reshape(weight.shape) % 4 >= 4 * progress - 3
            )

    origin, genome = parent(), Genome((Gene(1, 0.25, scope=("0",)), Gene(3, 0.5)))
    start, grown = initial_weights(origin, Last(0.1), genome), child_weights(origin, Last(0.1), genome)
    every = torch.arange(12).reshape(4, 3) % 4 != 0
    assert torch.equal(grown["0.weight"], start["0.weight"] * every) and (start["0.weight"] != 0).all()
    assert torch.equal(grown["2.weight"], start["2.weight"])


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (lambda weight: weight[:1] > 0, "expected bool (4, 3), found bool (1, 3)"),
        (lambda weight: (weight > 0).float(), "expected bool (4, 3), found float32 (4, 3)"),
        (lambda weight: [True], "expected bool (4, 3), found list"),
    ],
)
def test_what_is_no_mask_of_the_weight_is_refused(mask: Any, says: str) -> None:
    class Odd(Affine):
        def train_mask(self, name: str, weight: Tensor, gene: Gene, progress: float, step: int) -> Tensor | None:
            found: Tensor = mask(weight)
            return found

    with pytest.raises(ShapeError, match=re.escape(f"Odd.train_mask('0.weight'): {says}")):
        child_weights(parent(), Odd(0.1), Genome((Gene(1, 0.25),)))


def test_a_mask_that_writes_into_the_weight_changes_nothing() -> None:
    class Writes(Affine):
        def train_mask(self, name: str, weight: Tensor, gene: Gene, progress: float, step: int) -> Tensor | None:
            return weight.zero_() == 0

    genome = Genome((Gene(1, 0.25),))
    for name, weight in child_weights(parent(), Writes(0.1), genome).items():
        assert torch.equal(weight, child_weights(parent(), Affine(0.1), genome)[name])


def test_another_dtype_is_refused() -> None:
    class Whole(Affine):
        def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
            return super().perturb(name, weight, gene).long()

    with pytest.raises(ShapeError, match=re.escape("expected float32 (4, 3), found int64 (4, 3)")):
        child_weights(parent(), Whole(0.1), Genome((Gene(1, 0.25),)))


def test_genes_are_applied_in_order_to_the_perturbed_tensors_only() -> None:
    origin = parent()
    grown = child_weights(origin, Affine(0.1), Genome((Gene(1, 0.25), Gene(2, 3.0))))
    assert tuple(grown) == origin.perturbed == ("0.weight", "2.weight")
    for name, weight in grown.items():
        assert torch.equal(weight, 2 * (2 * origin.weights[name] + 0.25) + 3)


def test_what_siblings_have_in_common_is_computed_once() -> None:
    """All but the last gene, as of one elite's children; another Strategy's, or another parent's, is another."""
    asked: list[float] = []

    class Counting(Affine):
        def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
            asked.append(gene.scale)
            return super().perturb(name, weight, gene)

    one, genes = parent(), tuple(Gene(0, scale) for scale in (1.0, 2.0))
    siblings = [Genome((*genes, Gene(0, scale))) for scale in (3.0, 4.0, 5.0)]
    strategy, other = Counting(0.1), Counting(0.1)
    found = [initial_weights(one, strategy, genome) for genome in siblings]
    assert sorted(asked) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]  # for each of two tensors
    for genome, weights in zip(siblings, found, strict=True):
        alone = initial_weights(parent(), Affine(0.1), genome)
        assert all(torch.equal(alone[name], weight) for name, weight in weights.items())
    asked.clear()
    initial_weights(one, other, siblings[0])
    initial_weights(parent(), other, siblings[0])
    assert len(asked) == 12
    gone = weakref.ref(one)
    del one
    assert gone() is None  # what is kept keeps no parent


def test_no_gene_grows_the_parent() -> None:
    origin = parent()
    for name, weight in child_weights(origin, Affine(0.1), Genome()).items():
        assert torch.equal(weight, origin.weights[name])


def test_growing_leaves_the_parent_alone() -> None:
    origin = parent()
    before = origin.fingerprint
    child_weights(origin, Affine(0.1), Genome((Gene(1, 0.25),)))
    assert origin.fingerprint == before


def test_perturb_is_told_the_tensors_name() -> None:
    seen = []

    class Watch(Affine):
        def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
            seen.append((name, tuple(weight.shape), gene.seed))
            return weight

    child_weights(parent(), Watch(0.1), Genome((Gene(1, 0.1), Gene(2, 0.1))))
    assert seen == [(n, s, k) for k in (1, 2) for n, s in (("0.weight", (4, 3)), ("2.weight", (2, 4)))]


def test_another_shape_is_refused_even_where_it_could_be_broadcast() -> None:
    class Rows(Affine):
        def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
            return weight[:1]

    with pytest.raises(ShapeError, match=r"perturb\('0\.weight'\): expected float32 \(4, 3\), found float32 \(1, 3\)"):
        child_weights(parent(), Rows(0.1), Genome((Gene(1, 0.1),)))
