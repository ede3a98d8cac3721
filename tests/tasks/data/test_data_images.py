import hashlib

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import pad
from torchvision import transforms

from evoens.errors import ShapeError
from evoens.tasks.data.images import Images, shuffled
from evoens.tasks.data.preprocessing import Normalise, augmented, cropped, flipped

SHAPES = [(3, 32, 32), (1, 28, 28), (1, 8, 8), (3, 17, 25), (1, 5, 9)]


def bytes_of(n: int, shape: tuple[int, int, int], seed: int = 0) -> Tensor:
    """Images `(n, c, h, w)` with the bytes in the order h, w, c."""
    channels, height, width = shape
    drawn = np.random.default_rng(seed).integers(0, 256, (n, height, width, channels), np.uint8)
    return torch.from_numpy(drawn).permute(0, 3, 1, 2)


def images_of(pixels: Tensor, places: list[int]) -> Images:
    return Images(pixels, torch.tensor(places), torch.tensor(places) % 3)


@pytest.mark.parametrize("shape", SHAPES)
def test_batches_are_the_images_in_order(shape: tuple[int, int, int]) -> None:
    pixels = bytes_of(20, shape)
    images = images_of(pixels, [0, 3, 4, 9, 12, 13, 19])
    batches = list(images.batches(3))
    assert [len(labels) for _, labels in batches] == [3, 3, 1] and len(images) == 7
    assert torch.equal(torch.cat([batch for batch, _ in batches]), pixels[images.places])
    assert torch.equal(torch.cat([labels for _, labels in batches]), images.labels)
    assert all(batch.is_contiguous(memory_format=torch.channels_last) for batch, _ in batches)
    part = images.part(5, 10)
    assert len(part) == 2 and torch.equal(part.take(torch.tensor([1])), pixels[19:])


def test_the_order_of_training_is_the_seeds_and_the_epochs() -> None:
    images = images_of(bytes_of(50, (1, 4, 4)), list(range(50)))
    seen = torch.cat([batch for batch, _ in images.shuffled(8, seed=1, epoch=2)])
    assert torch.equal(seen, images.take(shuffled(50, 1, 2)))
    assert shuffled(50, 1, 2).sort().values.tolist() == list(range(50))
    orders = {tuple(shuffled(50, seed, epoch).tolist()) for seed in (1, 2) for epoch in (1, 2)}
    assert len(orders) == 4
    assert shuffled(8, 0, 0).tolist() == ORDER


@pytest.mark.parametrize("shape", SHAPES)
def test_normalised_as_torchvision_does_to_the_bit(shape: tuple[int, int, int]) -> None:
    pixels, channels = bytes_of(6, shape), shape[0]
    mean, std = (0.4914, 0.4822, 0.4465)[:channels], (0.2471, 0.2435, 0.2616)[:channels]
    oracle = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])
    expected = torch.stack([oracle(image.permute(1, 2, 0).numpy()) for image in pixels])
    normalise = Normalise(mean, std)
    for memory in (pixels, pixels.contiguous()):
        found = normalise(memory)
        assert torch.equal(found, expected) and found.dtype == torch.float32
        assert found.is_contiguous(memory_format=torch.channels_last)


def test_normalise_counts_the_channels() -> None:
    with pytest.raises(ShapeError, match="expected images of 3 channels, found 1"):
        Normalise((0.5,) * 3, (0.5,) * 3)(bytes_of(1, (1, 4, 4)))


def test_statistics_are_exact_and_of_these_images_only(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = bytes_of(40, (3, 9, 7))
    images = images_of(pixels, list(range(0, 40, 3)))
    values = pixels[::3].double() / 255
    whole = images.statistics()
    assert np.allclose(whole[0], values.mean((0, 2, 3)), rtol=1e-14)
    assert np.allclose(whole[1], values.std((0, 2, 3), correction=0), rtol=1e-13)
    monkeypatch.setattr("evoens.tasks.data.images.BLOCK", 400)  # two images a time
    assert images.statistics() == whole


def test_a_channel_that_never_changes_can_be_divided_by_its_deviation() -> None:
    black = images_of(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), [0, 1, 2])
    assert black.statistics() == ((0.0,), (1.0,))


@pytest.mark.parametrize("shape", SHAPES)
def test_crops_are_those_cut_one_by_one(shape: tuple[int, int, int]) -> None:
    images, (_, height, width) = bytes_of(30, shape), shape
    top, left = height // 8, width // 8
    rng = np.random.default_rng(1)
    down, right = (torch.from_numpy(rng.integers(0, 2 * edge + 1, 30)) for edge in (top, left))
    down[:2], right[:2] = torch.tensor([0, 2 * top]), torch.tensor([0, 2 * left])  # the corners
    padded = pad(images, (left, left, top, top))
    cuts = zip(padded, down.tolist(), right.tolist(), strict=True)
    expected = torch.stack([image[:, y : y + height, x : x + width] for image, y, x in cuts])
    for memory in (images, images.contiguous()):
        found = cropped(memory, down, right)
        assert torch.equal(found, expected)
        assert found.is_contiguous(memory_format=torch.channels_last)
    middle = torch.full((30,), top), torch.full((30,), left)
    assert torch.equal(cropped(images, *middle), images)


@pytest.mark.parametrize("shape", SHAPES)
def test_flips_are_those_made_one_by_one(shape: tuple[int, int, int]) -> None:
    images, where = bytes_of(20, shape), torch.arange(20) % 3 == 0
    expected = torch.stack([image.flip(2) if flip else image for image, flip in zip(images, where, strict=True)])
    found = flipped(images, where)
    assert torch.equal(found, expected) and found.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(flipped(images, where & False), images)
    assert torch.equal(flipped(images.contiguous(), where | True), images.flip(3))


def test_every_shift_and_both_sides_come_up_alike() -> None:
    """A white image shows how far it was shifted; one white on the left, whether it was mirrored."""
    n = 20_000
    white = torch.full((n, 1, 16, 16), 255, dtype=torch.uint8)
    shifted = augmented(white, 0, 0, 0, crop=True, flip=False)[:, 0] == 255
    down, right = shifted.any(2), shifted.any(1)
    shifts = torch.stack([up.sum(1) - 16 + 2 * (~up[:, 0]) * (16 - up.sum(1)) for up in (down, right)])
    for axis in shifts:  # −2 to 2 pixels
        counts = torch.bincount(axis + 2, minlength=5)
        assert len(counts) == 5 and (counts - n / 5).abs().max() < 5 * (n * 0.16) ** 0.5
    assert abs(float(torch.corrcoef(shifts.double())[0, 1])) < 0.04
    half = torch.zeros(n, 1, 2, 2, dtype=torch.uint8)
    half[..., 0] = 255
    mirrored = augmented(half, 0, 0, 0, crop=False, flip=True)[:, 0, 0, 1] == 255
    assert abs(int(mirrored.sum()) - n / 2) < 5 * (n / 4) ** 0.5


def test_the_same_draws_on_every_machine_others_for_another_batch() -> None:
    images = bytes_of(64, (3, 32, 32))
    digest = hashlib.sha256(augmented(images, 3, 1, 4, crop=True, flip=True).contiguous().numpy().tobytes()).hexdigest()
    assert digest[:16] == AUGMENTED
    drawn = [augmented(images, *key, crop=True, flip=True) for key in ((3, 1, 4), (3, 1, 5), (3, 2, 4), (4, 1, 4))]
    assert all(not torch.equal(drawn[0], other) for other in drawn[1:])
    assert torch.equal(augmented(images, 3, 1, 4, crop=False, flip=False), images)


ORDER = [1, 2, 7, 6, 3, 0, 4, 5]
AUGMENTED = "35b6e0010a4df9ee"
