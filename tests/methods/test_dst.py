"""Dynamic sparse training: densities by hand, exact sparsity at every step, what is dropped and grown, same bits."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evoens.errors import SpecError
from evoens.methods.dst import DST, DynamicSparse, Updates, counts, erdos_renyi_kernel
from evoens.settings.classification import TrainSettings
from evoens.tasks.data.images import Images
from evoens.tasks.data.preprocessing import Normalise
from evoens.tasks.sgd import Examples, Training

pytestmark = pytest.mark.usefixtures("one_thread")

EPOCHS, STEPS = 4, 5  # steps an epoch
OPTIMISERS: dict[str, dict[str, Any]] = {
    "adam": {"optimiser": "adam", "learning_rate": 0.01},
    "nesterov with decay": {"optimiser": "sgd", "learning_rate": 0.05, "weight_decay": 0.01},
}
DENSITY = 0.3


def examples() -> Examples:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (8 * STEPS, 6, 6, 3), np.uint8)).permute(0, 3, 1, 2)
    labels = torch.from_numpy(rng.integers(0, 4, 8 * STEPS))
    return Examples(Images(pixels, torch.arange(8 * STEPS), labels), Normalise((0.5,) * 3, (0.3,) * 3))


def begin(grow: str = "gradient", optimiser: str = "adam", seed: int = 7, every: int = 3) -> Training:
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten())
    module = nn.Sequential(*layers, nn.Linear(24, 4)).to(memory_format=torch.channels_last)
    settings = TrainSettings(epochs=EPOCHS, batch=8, **OPTIMISERS[optimiser])
    training = Training(module, examples(), settings, seed=7, draws=False)
    weights = {name: value for name, value in module.named_parameters() if value.dim() > 1}
    updates = Updates([0, EPOCHS * STEPS], every)
    training.masking = DynamicSparse(weights, training.optimiser, DENSITY, updates, seed=seed, grow=grow)
    return training


def train(training: Training, on_step: Callable[[int], None] = lambda _: None) -> dict[str, Tensor]:
    while not training.finished:
        training.epoch(on_step)
    training.masking.finish()
    return {name: weight.clone() for name, weight in training.module.state_dict().items()}


def masks(training: Training) -> dict[str, Tensor]:
    return {name: mask.clone() for name, mask in training.masking.checkpoint().items()}


# ---- densities


def test_densities_are_those_worked_out_by_hand() -> None:
    """Sums over sizes are 25/432, 38/2304 and 26/160; of 2896 weights 868.8 stay.

    So ε would be 868.8/(25 + 38 + 26) = 9.762, and the last layer's density 1.586: it is dense. Then ε is
    (868.8 − 160)/(25 + 38) = 11.250794, and the others have 281.27 of 432 and 427.53 of 2304.
    """
    shapes = {"a": (16, 3, 3, 3), "b": (16, 16, 3, 3), "c": (10, 16)}
    found = erdos_renyi_kernel(shapes, 0.3)
    assert found == {"a": pytest.approx(11.250794 * 25 / 432), "b": pytest.approx(11.250794 * 38 / 2304), "c": 1.0}
    assert counts(shapes, 0.3) == {"a": 281, "b": 428, "c": 160}


def test_all_layers_together_have_the_density() -> None:
    shapes = {str(i): (8 * 2**i, 4 * 2**i, 3, 3) for i in range(5)} | {"fc": (10, 128)}
    whole = sum(math.prod(shape) for shape in shapes.values())
    for density in (0.02, 0.1, 0.2, 0.5, 0.9, 1.0):
        assert sum(counts(shapes, density).values()) == pytest.approx(density * whole, abs=len(shapes))
        assert max(erdos_renyi_kernel(shapes, density).values()) <= 1


# ---- when


def test_the_share_that_is_dropped_falls_by_a_cosine_and_begins_anew_in_each_phase() -> None:
    updates = Updates([0, 40, 80], 10, escapes=(40,))
    found = {step: updates.share(step) for step in range(90) if updates.share(step)}
    falls = {10: 0.25 * (1 + math.cos(math.pi / 4)), 20: 0.25, 30: 0.25 * (1 - math.cos(math.pi / 4))}
    expected = {**falls, 40: 0.8, **{40 + step: share for step, share in falls.items()}}
    assert found == {step: pytest.approx(share) for step, share in expected.items()}


# ---- masks


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("grow", ["gradient", "random"])
def test_sparsity_is_exact_after_every_step_and_no_momentum_is_left(grow: str, optimiser: str) -> None:
    training = begin(grow, optimiser)
    shapes = {name: tuple(mask.shape) for name, mask in masks(training).items()}
    sizes = counts(shapes, DENSITY)
    assert sum(sizes.values()) == pytest.approx(DENSITY * sum(map(math.prod, shapes.values())), abs=3)
    seen = [masks(training)]

    def look(step: int) -> None:
        now = masks(training)
        for name, mask in now.items():
            weight = training.module.get_parameter(name)
            assert int(mask.sum()) == sizes[name]
            assert not weight[~mask].any()
            states = [value for value in training.optimiser.state[weight].values() if value.shape == weight.shape]
            assert states and not any(value[~mask].any() for value in states)
        updated = step - 1 > 0 and (step - 1) % 3 == 0  # on_step counts from 1
        assert any(not torch.equal(now[name], seen[-1][name]) for name in now) == updated, step
        seen.append(now)

    final = train(training, look)
    assert all(int((final[name] != 0).sum()) <= size for name, size in sizes.items())


@pytest.mark.parametrize("grow", ["gradient", "random"])
def test_the_smallest_go_and_the_steepest_come(grow: str) -> None:
    training = begin(grow)
    masking = training.masking
    training.epoch()
    before, name = masks(training), "2.weight"
    weight = training.module.get_parameter(name)
    whole, slope = weight.detach().clone(), torch.randn(weight.shape)
    for value in training.module.parameters():
        value.grad = torch.zeros_like(value)
    weight.grad = slope.clone()
    masking.before(0.3, 6)
    masking.after()
    after, share = masks(training)[name], Updates([0, 20], 3).share(6)
    size, old = int(before[name].sum()), before[name]
    dropped = round(share * size)
    kept = whole.abs()[old].sort(descending=True).values[: size - dropped]
    assert 0 < dropped < size
    stay = old & (whole.abs() >= kept[-1])
    assert after[stay].all() and int(after.sum()) == size
    grown = after & ~stay
    if grow == "gradient":
        steepest = slope.abs()[~stay].sort(descending=True).values[:dropped]
        assert torch.equal(slope.abs()[grown].sort(descending=True).values, steepest)
    else:
        assert not torch.equal(slope.abs()[grown].sort().values, slope.abs()[~stay].sort().values[-dropped:])
    assert not weight[after & ~old].any()  # what is new begins at zero, and learns in this very step
    assert torch.equal(weight.grad, slope * after)


def test_seeds_draw_other_masks_and_the_same_again() -> None:
    one, same, other = masks(begin(seed=1)), masks(begin(seed=1)), masks(begin(seed=2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in one if not one[name].all())


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("grow", ["gradient", "random"])
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(grow: str, optimiser: str) -> None:
    unbroken = train(begin(grow, optimiser))
    for stop in (1, 2, 3):
        first = begin(grow, optimiser)
        for _ in range(stop):
            first.epoch()
        state, tensors = copy.deepcopy(first.checkpoint())
        again = begin(grow, optimiser)
        again.restore(state, {name: value.contiguous() for name, value in tensors.items()})
        for name, value in train(again).items():
            assert torch.equal(value, unbroken[name]), (stop, name)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(SpecError, match=r"grow: expected one of gradient, random, found 'best'"):
        DST(grow="best")
    with pytest.raises(SpecError, match=r"density: expected a number > 0 and ≤ 1, found 0"):
        DST(density=0)
    with pytest.raises(SpecError, match=r"every: expected an integer ≥ 1, found 0"):
        DST(every=0)
