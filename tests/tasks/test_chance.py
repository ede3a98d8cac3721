"""A parent near chance is told with what would explain it; one that is merely weak is not."""

import numpy as np
import pytest
import torch
from scipy.stats import binom
from torch import Tensor, nn

from evoens.parent import Architecture, Parent
from evoens.tasks.chance import better_order, cautions, chance
from evoens.tasks.data.images import Images
from evoens.tasks.data.preprocessing import Normalise

NAMES = [str(i) for i in range(12)]
TEXT = sorted(NAMES)


class Reader(nn.Module):
    """Reads the class off an image, whose every pixel is 20 · class + 10; wants inputs as `wanted` normalises them."""

    def __init__(self, order: list[int], wanted: Normalise, wrong: float = 0.0) -> None:
        super().__init__()
        self.order, self.wanted, self.wrong = order, wanted, wrong
        self.last = nn.Linear(12, 12)
        with torch.no_grad():
            self.last.weight.copy_(9 * torch.eye(12)[order])
            self.last.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        value = x.mean((1, 2, 3)) * self.wanted.std[0] + self.wanted.mean[0]
        label = (value * 255 / 20 - 0.5).round()
        label = torch.where((label >= 0) & (label < 12), label, torch.zeros(())).long()
        rows = torch.arange(len(x))
        noise = torch.frac(rows * 0.618) < self.wrong
        return self.last(torch.eye(12)[torch.where(noise, (label + 1 + rows % 11) % 12, label)])


HALF = Normalise((0.5,), (0.5,))


@pytest.fixture
def images() -> Images:
    labels = torch.arange(240) % 12
    pixels = (20 * labels + 10).to(torch.uint8).view(-1, 1, 1, 1).repeat(1, 1, 4, 4)
    return Images(pixels, torch.arange(240), labels)


def parent(order: list[int], wanted: Normalise = HALF, wrong: float = 0.0) -> Parent:
    return Parent(Reader(order, wanted, wrong), Architecture("tests:Reader", {}))


def said(who: Parent, images: Images, normalise: Normalise = HALF) -> list[str]:
    return list(cautions(who, images, normalise, NAMES))


def test_a_good_parent_and_a_weak_one_need_no_words(images: Images) -> None:
    right = list(range(12))
    for wrong in (0.0, 0.05, 0.2, 0.4, 0.7):
        assert said(parent(right, wrong=wrong), images) == []


@pytest.mark.parametrize("wrong", [0.0, 0.3])
def test_two_classes_of_a_good_parent_in_each_other_s_place(images: Images, wrong: float) -> None:
    order = [0, 1, 7, 3, 4, 5, 6, 2, *range(8, 12)]
    (sentence,) = said(parent(order, wrong=wrong), images)
    assert sentence.endswith(f"`problem.classes: [{', '.join(map(str, order))}]`")


def test_classes_in_another_order_are_named(images: Images) -> None:
    """A network whose outputs are in the order of names as text: right on 0 and 1 only."""
    order = [NAMES.index(name) for name in TEXT]
    (sentence,) = said(parent(order, wrong=0.1), images)
    assert sentence.startswith("the parent is right on 0.150 of") or sentence.startswith("the parent is right on 0.1")
    assert sentence.endswith(f"`problem.classes: [{', '.join(TEXT)}]`")
    named = [NAMES.index(name) for name in TEXT]
    relabelled = Images(images.pixels, images.places, torch.tensor([named.index(int(i)) for i in images.labels]))
    assert list(cautions(parent(order, wrong=0.1), relabelled, HALF, TEXT)) == []  # as the advice has it


@pytest.mark.parametrize(
    ("wanted", "advice"),
    [
        (
            Normalise((0.0,), (1 / 255,)),
            "with bytes, 0 to 255 it is on 1.000: `problem.normalise: {mean: [0.0], std: [0.0039",
        ),
        (
            Normalise((0.0,), (1.0,)),
            "with numbers from 0 to 1 it is on 1.000: `problem.normalise: {mean: [0.0], std: [1.0]}",
        ),
        (Normalise((0.5,), (0.5,)), "with numbers from −1 to 1 it is on 1.000"),
        (Normalise((0.1,), (40.0,)), "do its weights, problem.classes and problem.normalise belong together?"),
    ],
)
def test_another_normalisation_is_named(images: Images, wanted: Normalise, advice: str) -> None:
    shown = Normalise((0.9,), (0.001,))
    (sentence,) = said(parent(list(range(12)), wanted), images, shown)
    assert advice in sentence and "as chance is (≤ 0.1" in sentence


def test_chance_is_the_binomials(images: Images) -> None:
    labels = np.array([0] * 70 + [1] * 30)
    low = chance(labels)
    assert low == 0.79 and binom.cdf(round(low * 100), 100, 0.7) >= 0.975 > binom.cdf(round(low * 100) - 1, 100, 0.7)


def test_an_order_is_not_found_in_noise() -> None:
    rng = np.random.default_rng(0)
    for classes, count in ((10, 300), (100, 300), (1000, 300)):
        right, answers = rng.integers(0, classes, (2, count))
        assert better_order(answers, right, classes) is None
        half = np.where(rng.random(count) < 0.3, right, answers)
        assert better_order(half, right, classes) is None
    right = rng.integers(0, 10, 300)
    swapped = np.array([1, 0, *range(2, 10)])
    found = better_order(swapped[right], right, 10)
    assert found is not None and found.tolist() == swapped.tolist()


def test_a_large_network_at_chance_is_asked_for_few_images(images: Images, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its operations: 2 · 12 · 12 a pass, of which so many are allowed as 60 images take."""
    asked: list[int] = []
    who = parent(list(range(12)), wrong=1.0)
    monkeypatch.setattr(who, "predict", lambda x: asked.append(len(x)) or Parent.predict(who, x))
    monkeypatch.setattr("evoens.tasks.chance.EFFORT", 60 * 2 * 12 * 12)
    assert any("as chance is" in text for text in said(who, images))
    assert sum(asked) == 15 + 9 * 4  # a quarter first; then its own normalisation and three of the usual ones
