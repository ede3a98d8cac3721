"""A teacher's answers in the labels' stead: batches, the loss that is minimised, and the accuracy that is told."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from evoens.settings.classification import TrainSettings
from evoens.tasks.data.images import Images
from evoens.tasks.data.preprocessing import Normalise
from evoens.tasks.distilled import taught
from evoens.tasks.examples import Examples
from evoens.tasks.sgd import Training

COUNT, CLASSES = 23, 3
pytestmark = pytest.mark.usefixtures("one_thread")


def examples(*augment: str) -> Examples:
    """The first pixel of each image is its number; half of the pool is not of the split."""
    pixels = torch.randint(0, 256, (2 * COUNT, 8, 8, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    places = torch.arange(0, 2 * COUNT, 2)
    pixels[places, 0, 0, 0] = torch.arange(COUNT, dtype=torch.uint8)
    return Examples(Images(pixels, places, torch.randint(0, CLASSES, (COUNT,))), Normalise((0,) * 3, (1,) * 3), augment)


def answers() -> Tensor:
    return torch.randn(COUNT, CLASSES).softmax(-1)


def test_each_image_comes_with_the_answer_to_it() -> None:
    given, known = examples(), answers()
    seen = list[int]()
    for (inputs, found), (same, _) in zip(taught(given, known).batches(5, 7, 2), given.batches(5, 7, 2), strict=True):
        assert torch.equal(inputs, same)
        numbers = (inputs[:, 0, 0, 0] * 255).round().long()
        assert torch.equal(found, known[numbers])
        seen += numbers.tolist()
    assert sorted(seen) == list(range(COUNT))


def test_augmented_images_keep_their_answers() -> None:
    given, known = examples("crop", "flip"), answers()
    found = torch.cat([own for _, own in taught(given, known).batches(COUNT, 1, 0)])
    plain = torch.cat([own for _, own in taught(examples(), known).batches(COUNT, 1, 0)])
    assert torch.equal(found, plain)


def test_it_learns_by_the_cross_entropy_from_the_answers_and_tells_how_often_it_agrees() -> None:
    """Without a step worth the name, an epoch's loss and accuracy are those of the network as it is."""
    known, module = answers(), nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, CLASSES))
    given = taught(examples(), known)
    training = Training(module, given, TrainSettings(epochs=1, batch=6, learning_rate=1e-12), seed=0)
    inputs = given.normalise(given.images.all())
    with torch.no_grad():
        logs = module(inputs).double().log_softmax(-1)
    row = training.epoch()
    assert row["loss"] == pytest.approx(float(-(known.double() * logs).sum(-1).mean()), rel=1e-5)
    assert row["accuracy"] == pytest.approx(float((logs.argmax(-1) == known.argmax(-1)).double().mean()))


def test_a_student_comes_to_say_what_its_teacher_does() -> None:
    known, module = answers(), nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, CLASSES))
    given = taught(examples(), known)
    training = Training(module, given, TrainSettings(epochs=60, batch=6, learning_rate=3e-3), seed=0)
    while not training.finished:
        training.epoch()
    with torch.no_grad():
        found = module(given.normalise(given.images.all())).softmax(-1)
    assert float((found - known).abs().mean()) < 0.02
