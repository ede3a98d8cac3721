"""Noisy: the dissertation's four children of a draw, to the bit."""

from random import Random

import numpy as np
import pytest
import torch
from evoens_strategies.noisy import Noisy
from scipy.special import ndtri
from torch import Tensor, nn

from evoens import noise
from evoens.children import child_weights
from evoens.genome import Gene, Genome, Mask
from evoens.parent import Architecture, Parent

SHAPE = (16, 8, 3, 3)
NAME = "conv.weight"
MASKS = [None, Mask(3, 0.2), Mask(3, 0.2, 2, 0), Mask(3, 0.2, 2, 1), Mask(3, 0.25, 4, 2)]


def weight(seed: int = 0) -> Tensor:
    """Weights of a trained layer's size, with both zeros among them."""
    drawn = 0.05 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(seed))
    drawn.flatten()[:200:2], drawn.flatten()[1:200:2] = 0.0, -0.0
    return drawn


def bits(values: Tensor) -> np.ndarray:
    return values.numpy().view(np.uint32)


@pytest.mark.parametrize("mask", MASKS, ids=str)
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("sigma", [0.005, 0.02, 0.1])
def test_every_weight_is_rounded_twice_in_float32(mask: Mask | None, sign: int, sigma: float) -> None:
    """`fl32(w + fl32(fl32(σ·s) · z))`: no fused multiply-add, no float64 in between."""
    w, gene = weight(), Gene(5, sigma, sign, mask)
    z = noise.normals(5, NAME, SHAPE).numpy()
    step = np.float32(sigma * sign) * z  # NumPy rounds after each operation
    expected = w.numpy() + step
    if mask is not None:
        expected = np.where(noise.keep(mask, NAME, SHAPE).numpy(), expected, w.numpy())
    found = Noisy(sigma).perturb(NAME, w, gene)
    assert np.array_equal(bits(found), expected.view(np.uint32))


@pytest.mark.parametrize("mask", MASKS[1:], ids=str)
@pytest.mark.parametrize("sign", [1, -1])
def test_against_a_naive_version_in_float64(mask: Mask, sign: int) -> None:
    """`Ŵ = W + σ·s·N∘M` as the text has it, its noise through scipy from the stream's words."""
    w, sigma = weight(), 0.03
    z = ndtri((noise.words(5, NAME, w.numel()).astype(np.float64) + 0.5) / 65536).reshape(SHAPE)
    kept = noise.keep(mask, NAME, SHAPE).numpy().astype(np.float64)
    expected = w.numpy().astype(np.float64) + sigma * sign * z * kept
    found = Noisy(sigma).perturb(NAME, w, Gene(5, sigma, sign, mask)).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=4 * 2**-24 * (0.3 + 5 * sigma))


@pytest.mark.parametrize("mask", MASKS[1:], ids=str)
def test_what_the_mask_leaves_alone_keeps_its_bits(mask: Mask) -> None:
    """Even −0.0, which adding a masked zero would turn into +0.0."""
    w = weight()
    found = Noisy(0.05).perturb(NAME, w, Gene(5, 0.05, -1, mask))
    kept = noise.keep(mask, NAME, SHAPE).numpy()
    assert np.array_equal(bits(found)[~kept], bits(w)[~kept])
    assert (bits(found)[kept] != bits(w)[kept]).mean() > 0.99


def test_the_four_children_of_a_draw_average_to_the_parent() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 5))
    parent = Parent(module, Architecture("torch.nn:Sequential"))
    strategy = Noisy(0.1, density=0.2)
    children = [child_weights(parent, strategy, genome) for genome in strategy.ask(4, Random(0))]
    for name in parent.perturbed:
        w = parent.weights[name].double()
        steps = torch.stack([child[name].double() - w for child in children])
        rounding = 2**-24 * (w.abs() + 0.5)  # half a unit of the largest sum
        assert (steps.sum(0).abs() <= 4 * rounding).all()
        assert (steps[0] + steps[1]).abs().max() <= 2 * rounding.max()  # mirrored
        assert ((steps[0] != 0) & (steps[2] != 0)).sum() == 0  # disjoint
        assert ((steps[0] != 0) | (steps[2] != 0)).double().mean() > 0.99  # covering


@pytest.mark.parametrize(("density", "parts"), [(0.2, 2), (0.5, 2), (0.2, 1), (0.125, 8)])
def test_sigma_and_density_are_what_they_say(density: float, parts: int) -> None:
    strategy, w = Noisy(0.04, density, parts), torch.zeros(512, 512)
    (genome,) = strategy.ask(1, Random(1))
    step = strategy.perturb("fc.weight", w, genome.genes[0])
    touched = step[step != 0]
    assert touched.numel() / w.numel() == pytest.approx(density, abs=4 * (density / w.numel()) ** 0.5)
    assert float(touched.std()) == pytest.approx(0.04, rel=4 / touched.numel() ** 0.5)


def test_the_weight_it_is_given_stays_as_it_is() -> None:
    w = weight()
    before = w.clone()
    for mask in MASKS:
        assert Noisy(0.1).perturb(NAME, w, Gene(1, 0.1, 1, mask)) is not w
    assert np.array_equal(bits(w), bits(before))


def test_layout_changes_no_value() -> None:
    w, gene = weight(), Gene(5, 0.02, 1, Mask(3))
    other = w.to(memory_format=torch.channels_last)
    assert torch.equal(Noisy(0.02).perturb(NAME, w, gene), Noisy(0.02).perturb(NAME, other, gene))


def test_a_child_is_published() -> None:
    """From parent and genome, to the bit: 0.25 + float32(−0.02) · z with the published z of (0, "conv.weight")."""
    found = Noisy(0.02).perturb(NAME, torch.full((5,), 0.25), Gene(0, 0.02, -1))
    assert [f"{x:08x}" for x in bits(found)] == ["3e8779d6", "3e7510bd", "3e6320e1", "3e82bfdb", "3e7f344f"]


def test_growing_twice_stacks_two_generations() -> None:
    w = weight()
    first, second = Gene(1, 0.02, 1, Mask(2)), Gene(3, 0.01, -1, Mask(4))
    parent = Parent(nn.Conv2d(8, 16, 3), Architecture("torch.nn:Conv2d"))
    parent.weights["weight"] = w
    strategy = Noisy(0.02)
    expected = strategy.perturb("weight", strategy.perturb("weight", w, first), second)
    assert torch.equal(child_weights(parent, strategy, Genome((first, second)))["weight"], expected)
