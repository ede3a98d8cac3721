"""Preprocessing that travels: the same bits as torchvision's, and what nobody normalised is told from the rest."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms

from evoens.errors import CheckpointError, ProblemError, ShapeError
from evoens.tasks.data.preprocessing import Normalise, Preprocessing

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
OWN = Preprocessing((3, 12, 12), 12, 15, MEAN, STD, ("cat", "dog"))
GREY = Preprocessing((1, 12, 12), None, None, (0.5,), (0.5,), ("0", "1"))


def images(*shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(4, 3, 12, 12), (3, 3, 40, 21), (2, 1, 30, 30)])
def test_images_come_out_as_from_torchvision(shape: tuple[int, ...]) -> None:
    steps = [transforms.Resize(15), transforms.CenterCrop(12), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    whole = transforms.Compose([transforms.ToPILImage(), transforms.Lambda(lambda image: image.convert("RGB")), *steps])
    pictures = images(*shape)
    assert torch.equal(torch.cat(list(OWN.batches(pictures))), torch.stack([whole(one) for one in pictures]))


def test_colours_become_grey_as_pillow_has_it() -> None:
    pictures = images(5, 3, 12, 12)
    grey = transforms.Compose([transforms.ToPILImage("RGB"), transforms.Grayscale(), transforms.ToTensor()])
    expected = (torch.stack([grey(one) for one in pictures]) - 0.5) / 0.5
    assert torch.equal(torch.cat(list(GREY.batches(pictures))), expected)


def test_files_come_out_as_from_torchvision(tmp_path: Path) -> None:
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, shape in zip(paths, ((3, 20, 31), (1, 40, 25), (3, 15, 15)), strict=True):
        transforms.ToPILImage()(images(*shape)).save(path)
    steps = [transforms.Resize(15), transforms.CenterCrop(12), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    expected = [transforms.Compose(steps)(Image.open(path).convert("RGB")) for path in paths]
    assert torch.equal(torch.cat(list(OWN.batches(paths))), torch.stack(expected))
    assert torch.equal(torch.cat(list(OWN.batches([str(path) for path in paths]))), torch.stack(expected))
    opened = [Image.open(path) for path in paths]
    assert torch.equal(torch.cat(list(OWN.batches(opened))), torch.stack(expected))
    assert torch.equal(torch.cat(list(OWN.batches([opened[0].copy(), paths[1]]))), torch.stack(expected[:2]))
    with pytest.raises(ProblemError, match=r"gone.png: expected an image, found no such file$"):
        list(OWN.batches([*paths, tmp_path / "gone.png"]))
    with pytest.raises(ProblemError, match=r"0.png: expected 12×12 as the first has, found 31×20"):
        list(GREY.batches(paths))


def test_what_are_no_images_is_refused() -> None:
    for other in (images(2, 1, 12, 12).numpy(), [images(1, 12, 12)], "photo.png", 7):
        with pytest.raises(
            ShapeError, match=r"^images: expected a tensor of uint8, or a list of paths or PIL images, f"
        ):
            list(GREY.batches(other))  # type: ignore[arg-type]
    for array in (images(2, 1, 12, 12).numpy(), [images(1, 12, 12).numpy()]):
        with pytest.raises(ShapeError, match=r"found ndarray; torch.from_numpy makes one of an array, \(n, channels, "):
            list(GREY.batches(array))  # type: ignore[arg-type]
    for none in (images(0, 1, 12, 12), []):
        with pytest.raises(ShapeError, match=r"^images: expected at least one, found none$"):
            list(GREY.batches(none))
    for wrong in (images(3, 12, 12), images(2, 1, 12, 12).float()):
        with pytest.raises(
            ShapeError, match=r"^images: expected a tensor \(n, channels, height, width\) of uint8, found "
        ):
            list(GREY.batches(wrong))
    with pytest.raises(ShapeError, match=r"^images: expected \(1, 12, 12\), found \(1, 9, 12\)$"):
        list(GREY.batches(images(2, 1, 9, 12)))


def test_json_and_back() -> None:
    assert Preprocessing.from_json(json.loads(json.dumps(OWN.to_json()))) == OWN
    for wrong in ({"mean": [1]}, {**OWN.to_json(), "more": 1}, "text"):
        with pytest.raises(CheckpointError, match=r"^preprocessing: expected how images are shown"):
            Preprocessing.from_json(wrong)  # type: ignore[arg-type]


SCALED = images(6, 3, 12, 12) / 255
DIM = 120 + images(2, 3, 12, 12) // 32  # all between mean and mean and deviation, so that none comes out below 0
WRONG = {
    "bytes": images(2, 3, 12, 12),
    "whole numbers": images(2, 3, 12, 12).long(),
    "as ToTensor gives them": SCALED,
    "those of one dark image": SCALED[:1] / 5 * 255 // 1 / 255,
    "bytes as floats": images(2, 3, 12, 12).float(),
    "resized as floats": torch.nn.functional.interpolate(SCALED, 30, mode="bilinear"),
    "to 255, resized": 255 * torch.nn.functional.interpolate(SCALED, 9, mode="bilinear"),
    "black and white": SCALED.round(),
    "half floats": SCALED.half(),
}


@pytest.mark.parametrize("inputs", WRONG.values(), ids=WRONG)
def test_inputs_that_were_not_normalised_are_refused(inputs: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"^inputs: expected floats, .*; predict_images takes bytes$"):
        OWN.check(inputs)


def normalised(pictures: Tensor, own: Preprocessing = OWN) -> Tensor:
    return Normalise(own.mean, own.std)(pictures)


RIGHT = {
    "images": normalised(images(9, 3, 12, 12)),
    "of another size": torch.nn.functional.interpolate(normalised(images(2, 3, 12, 12)), 30),
    "none": torch.zeros(0, 3, 12, 12),
    "a baseline": torch.zeros(1, 3, 12, 12),
    "white": normalised(torch.full((1, 3, 12, 12), 255, dtype=torch.uint8)),
    "bright": normalised(DIM),
    "bright, in double": normalised(DIM).double(),
    "noise": torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1)),
    "images under noise": normalised(DIM) + 0.3 * torch.randn(2, 3, 12, 12, generator=torch.Generator().manual_seed(1)),
    "bright, interpolated": torch.nn.functional.interpolate(normalised(DIM), 7, mode="bilinear"),
}


@pytest.mark.parametrize("inputs", RIGHT.values(), ids=RIGHT)
def test_inputs_as_the_network_takes_them_pass(inputs: Tensor) -> None:
    OWN.check(inputs)


def test_where_normalising_changes_nothing_bytes_from_0_to_1_are_right() -> None:
    plain = replace(OWN, mean=(0.0,) * 3, std=(1.0,) * 3)
    plain.check(SCALED)
    with pytest.raises(ShapeError, match="not normalised"):
        plain.check(255 * SCALED)
    replace(plain, std=(1 / 255,) * 3).check(255 * SCALED)


def test_every_byte_normalised_passes_alone_and_beside_its_neighbours() -> None:
    """A deviation of a half makes of bytes what from 0 to 1 are odd multiples of 1/255."""
    levels = torch.arange(256, dtype=torch.uint8)
    for first in range(0, 256, 16):
        for count in (2, 16, 128, 256 - first):
            some = levels[first : first + count].view(1, 1, 1, -1)
            GREY.check(normalised(some, GREY))


def test_inputs_of_other_channels_are_refused() -> None:
    for shape in ((2, 12, 12, 3), (3, 12, 12), (2, 1, 12, 12)):
        with pytest.raises(ShapeError, match=r"^inputs: expected shape \(n, 3, 12, 12\), found "):
            OWN.check(torch.randn(shape))
