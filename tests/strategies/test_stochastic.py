"""Stochastic: schedules by their formulas, probabilities by many draws, and targets that are reached exactly."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
import torch
from evoens_strategies.stochastic import Stochastic
from scipy import stats
from torch import Tensor, nn

from evoens import noise
from evoens.children import child_weights, initial_weights
from evoens.errors import SpecError
from evoens.genome import Gene, Mask
from evoens.parent import Architecture, Parent

NAME, SHAPE = "fc.weight", (6, 5)
STEPS = 4000
KINDS = ("temperature", "two-sided", "random", "mixture")


def genes(parts: int, density: float = 0.5, structure: str = "unstructured") -> list[Gene]:
    """One draw's genes; 30 weights of the name "fc.weight"."""
    return [Gene(11 + part, 1.0, mask=Mask(5, density, parts, part, structure)) for part in range(parts)]


def target(gene: Gene, shape: tuple[int, ...] = SHAPE) -> Tensor:
    assert gene.mask is not None
    return noise.keep(gene.mask, NAME, shape)


def frequencies(strategy: Stochastic, gene: Gene, progress: float = 0.0, steps: int = STEPS) -> Tensor:
    """How often each weight is kept over many steps at one moment of the annealing."""
    weight = torch.zeros(SHAPE)
    with noise.remembering({}):
        return sum(strategy.train_mask(NAME, weight, gene, progress, step).double() for step in range(steps)) / steps  # type: ignore[return-value]


def exact(strategy: Stochastic, gene: Gene) -> Tensor:
    """The probability to be kept at the beginning, in 65536ths, as the chance to differ from the target says it."""
    assert gene.mask is not None
    kept, chance = strategy._begin(gene.mask, NAME, SHAPE)
    return torch.where(kept, 65536 - chance.long(), chance.long())


def assert_near(found: Tensor, expected: Tensor, steps: int = STEPS) -> None:
    """Within what a binomial count of each weight allows, all weights together at 1 in 10 000."""
    tail = 1e-4 / found.numel() / 2
    for f, p in zip(found.flatten().tolist(), expected.flatten().tolist(), strict=True):
        low, high = stats.binom.ppf([tail, 1 - tail], steps, min(max(p, 0.0), 1.0))
        assert low <= round(f * steps) <= high, (f, p)


# ---- schedules


def test_schedules_are_their_formulas() -> None:
    """Eq. 6.2 to 6.4 from 1 to 0, the cosine with its π, and the exponential's rest at the end."""
    for t in (0.0, 0.1, 0.25, 0.5, 0.99):
        assert Stochastic(schedule="linear", over=0.4).temperature(0.4 * t) == pytest.approx(1 - t)
        assert Stochastic(schedule="cosine", over=0.4).temperature(0.4 * t) == pytest.approx(
            (1 + math.cos(math.pi * t)) / 2
        )
        assert Stochastic(schedule="exponential", rate=3, over=0.4).temperature(0.4 * t) == pytest.approx(
            math.exp(-3 * t)
        )
    for schedule in ("linear", "cosine", "exponential"):
        strategy = Stochastic(schedule=schedule, over=0.4)
        assert strategy.temperature(0.0) == 1 and strategy.temperature(0.4) == strategy.temperature(1.0) == 0
        temperatures = [strategy.temperature(t / 100) for t in range(41)]
        assert temperatures == sorted(temperatures, reverse=True)


def test_cosine_over_three_of_ten_epochs_is_the_default() -> None:
    strategy = Stochastic()
    assert (strategy.annealing, strategy.schedule, strategy.tau, strategy.mask_fixed_from) == (
        "temperature",
        "cosine",
        0.5,
        0.3,
    )
    assert strategy.temperature(0.15) == pytest.approx(0.5)


# ---- probabilities


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.2])
def test_temperature_keeps_the_subnetwork_always_and_the_rest_by_tau(progress: float) -> None:
    strategy, (gene, _) = Stochastic(tau=0.4, schedule="linear"), genes(2)
    found, kept = frequencies(strategy, gene, progress), target(gene)
    assert (found[kept] == 1).all()
    assert_near(found[~kept], torch.full_like(found[~kept], 0.4 * (1 - progress / 0.3)))


@pytest.mark.parametrize("parts", [1, 2, 3])
def test_two_sided_temperature_lowers_the_ones_as_well(parts: int) -> None:
    strategy = Stochastic(density=1 / max(parts, 2), parts=parts, tau=0.3, annealing="two-sided", schedule="linear")
    gene = genes(parts, 1 / max(parts, 2))[-1]
    back = 0.3 / (parts - 1) if parts > 2 else 0.3
    for progress, temperature in ((0.0, 1.0), (0.15, 0.5)):
        expected = torch.where(target(gene), 1 - 0.3 * temperature, back * temperature)
        assert_near(frequencies(strategy, gene, progress), expected)


@pytest.mark.parametrize("density", [0.5, 0.2, 0.02])
def test_random_probabilities_are_uniform_and_those_below_the_sparsity_go_to_zero(density: float) -> None:
    strategy, (gene,) = Stochastic(density, 1, annealing="random", schedule="linear"), genes(1, density)
    assert gene.mask is not None
    kept, chance = strategy._begin(gene.mask, NAME, (400, 300))
    p = torch.where(kept, 65536 - chance.long(), chance.long()).double() / 65536
    assert stats.kstest(p.flatten().numpy(), "uniform").pvalue > 0.001
    assert torch.equal(p >= 1 - density, kept) or (p[kept].min() >= 1 - density - 2**-15 > p[~kept].max() - 2**-14)
    if density == 0.5:
        initial = exact(strategy, gene).double() / 65536
        assert_near(frequencies(strategy, gene), initial)
        final = target(gene).double()
        assert_near(frequencies(strategy, gene, 0.2), initial / 3 + final * 2 / 3)  # linearly from one to the other


def test_a_mixture_has_one_gaussian_for_each_side() -> None:
    strategy = Stochastic(0.3, 1, annealing="mixture", outside=(0.2, 0.05), inside=(0.7, 0.1))
    (gene,) = genes(1, 0.3)
    assert gene.mask is not None
    kept, chance = strategy._begin(gene.mask, NAME, (500, 400))
    p = torch.where(kept, 65536 - chance.long(), chance.long()).double() / 65536
    for values, mean, deviation in ((p[kept], 0.7, 0.1), (p[~kept], 0.2, 0.05)):
        inner = ((values - mean) / deviation)[(values > 0.01) & (values < 0.99)]
        assert float(inner.mean()) == pytest.approx(0, abs=0.02) and float(inner.std()) == pytest.approx(1, abs=0.02)
    assert_near(frequencies(strategy, gene), exact(strategy, gene).double() / 65536)
    wide = Stochastic(0.3, 1, annealing="mixture", outside=(0.2, 5.0), inside=(0.7, 5.0))
    assert exact(wide, gene).min() > 0 and exact(wide, gene).max() < 65536  # cut at both ends


@pytest.mark.parametrize("kind", ["two-sided", "random", "mixture"])
@pytest.mark.parametrize(("parts", "density"), [(2, 0.5), (2, 0.2), (3, 1 / 3), (5, 1 / 5)])
def test_the_probabilities_of_all_parts_sum_to_one_exactly(kind: str, parts: int, density: float) -> None:
    """`P' = 1 − P` (6.1), from the beginning to the end: each goes to its own part of the target."""
    strategy = Stochastic(density, parts, annealing=kind, tau=0.37)
    total = sum(exact(strategy, gene) for gene in genes(parts, density))
    assert (torch.as_tensor(total) == 65536).all()
    assert (torch.stack([target(gene) for gene in genes(parts, density)]).sum(0) == 1).all()


@pytest.mark.parametrize("kind", ["two-sided", "random", "mixture"])
def test_the_part_that_a_weight_goes_to_is_the_likeliest(kind: str) -> None:
    strategy = Stochastic(1 / 4, 4, annealing=kind, tau=0.3, inside=(0.75, 0.05))
    p = torch.stack([exact(strategy, gene) for gene in genes(4, 1 / 4)])
    where = torch.stack([target(gene) for gene in genes(4, 1 / 4)])
    assert (p.where(where, torch.tensor(0)).max(0).values >= p.where(~where, torch.tensor(0)).max(0).values).all()


# ---- steps and ends


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_the_target_is_reached_exactly_when_annealing_ends(kind: str, parts: int) -> None:
    strategy = Stochastic(1 / max(parts, 2), parts, annealing=kind, over=0.25)
    for gene in genes(parts, 1 / max(parts, 2)):
        weight = noise.normals(1, NAME, (60, 50))
        before = [strategy.train_mask(NAME, weight, gene, 0.1, step) for step in range(3)]
        assert not torch.equal(before[0], before[1]) and not torch.equal(before[1], before[2])
        for progress in (strategy.mask_fixed_from, 0.3, 1.0):
            assert torch.equal(strategy.train_mask(NAME, weight, gene, progress, 9), target(gene, (60, 50)))
        assert (strategy.mask_valid_until(0.1), strategy.mask_valid_until(0.2499)) == (0.1, 0.2499)
        assert strategy.mask_valid_until(0.25) == strategy.mask_valid_until(0.9) == 1


@pytest.mark.parametrize("structure", ["exact", "channels", "2:4"])
def test_targets_have_structure_too(structure: str) -> None:
    strategy, (gene, anti) = Stochastic(structure=structure, tau=1.0), genes(2, structure=structure)
    weight = torch.zeros(8, 12)
    ends = [strategy.train_mask(NAME, weight, g, 1.0, 0) for g in (gene, anti)]
    assert torch.equal(ends[0], ~ends[1]) and torch.equal(ends[0], target(gene, (8, 12)))
    assert strategy.train_mask(NAME, weight, gene, 0.0, 0).float().mean() > 0.99


def test_a_step_is_keyed_by_seed_name_and_number_alone() -> None:
    strategy, (gene, _), weight = Stochastic(), genes(2), torch.zeros(40, 30)

    def drawn(name: str = NAME, of: Gene = gene, step: int = 5) -> Tensor:
        return strategy.train_mask(name, weight, of, 0.1, step)

    first = drawn()
    with noise.remembering({}):
        assert torch.equal(drawn(), first) and torch.equal(drawn(), first)
    assert torch.equal(Stochastic().train_mask(NAME, weight + 1, gene, 0.1, 5), first)
    others = [drawn(step=6), drawn(of=Gene(99, 1.0, mask=gene.mask)), drawn("fc2.weight")]
    assert not any(torch.equal(other, first) for other in others)


def test_siblings_draw_independently() -> None:
    """Two of one draw have seeds of their own: at one step they are no complements but by chance."""
    ours = Stochastic(annealing="two-sided")
    (a,), (b,) = (genome.genes for genome in ours.ask(2, Random(0)))
    assert a.mask and b.mask and a.mask.seed == b.mask.seed and a.seed != b.seed
    weight = torch.zeros(300, 300)
    same = (ours.train_mask(NAME, weight, a, 0.0, 1) == ours.train_mask(NAME, weight, b, 0.0, 1)).sum()
    low, high = stats.binom.interval(0.9999, weight.numel(), 0.5)
    assert low <= int(same) <= high


def test_a_child_is_born_with_all_its_weights_and_without_training_has_its_target_only() -> None:
    module = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    parent = Parent(module, Architecture("torch.nn:Sequential"))
    strategy = Stochastic()
    strategy = strategy.within(parent=parent)
    for genome in strategy.ask(2, Random(0)):
        (gene,) = genome.genes
        assert gene.mask is not None
        assert all(torch.equal(w, parent.weights[n]) for n, w in initial_weights(parent, strategy, genome).items())
        child = child_weights(parent, strategy, genome)
        kept = noise.keep(gene.mask, "0.weight", (8, 6))
        assert torch.equal(child["0.weight"], parent.weights["0.weight"] * kept)
        assert torch.equal(child["2.weight"], parent.weights["2.weight"])


# ---- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"annealing": "warm"}, "annealing: expected one of temperature, two-sided, random, mixture"),
        ({"schedule": "step"}, "schedule: expected one of linear, cosine, exponential"),
        ({"tau": 1.1}, "tau, over, rate: .* found 1.1, 0.3, 5.0"),
        ({"over": 0.0}, "found 0.5, 0.0"),
        ({"rate": 0.0}, "found 0.5, 0.3, 0.0"),
        ({"annealing": "random", "structure": "channels"}, "structure: expected unstructured"),
        ({"structure": "channels", "output": True}, "structure: expected one of single weights"),
    ],
    ids=str,
)
def test_settings_out_of_bounds_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Stochastic(**settings)
