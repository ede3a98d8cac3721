from __future__ import annotations

import numpy as np
import pytest
import torch
from corruption_pictures import photo_tensor

from evoens.errors import ProblemError, ShapeError
from evoens.tasks.corruption import DRE, EXTRA, KINDS, corrupt

ALL = KINDS + EXTRA + DRE
FIXED = {
    "defocus_blur",
    "zoom_blur",
    "brightness",
    "contrast",
    "pixelate",
    "jpeg_compression",
    "gaussian_blur",
    "saturate",
}


def test_the_kinds_are_those_of_cifar_10_c_and_dre() -> None:
    assert KINDS == (
        "gaussian_noise",
        "shot_noise",
        "impulse_noise",
        "defocus_blur",
        "glass_blur",
        "motion_blur",
        "zoom_blur",
        "snow",
        "frost",
        "fog",
        "brightness",
        "contrast",
        "elastic_transform",
        "pixelate",
        "jpeg_compression",
    )
    assert EXTRA == ("speckle_noise", "gaussian_blur", "spatter", "saturate")
    assert DRE == ("plasma", "checkerboard", "water_drop", "lines")


@pytest.mark.parametrize("kind", ALL)
def test_halves_make_the_whole(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bit for bit, cut at an odd place, one image alone, and from the middle of a data set; over several blocks."""
    monkeypatch.setattr("evoens.tasks.corruption._AT_ONCE", 10 * 3 * 32 * 32)
    images = photo_tensor(33)
    for severity in (1, 5):
        whole = corrupt(images, kind, severity, seed=7, first=1000)
        halves = corrupt(images[:17], kind, severity, 7, 1000), corrupt(images[17:], kind, severity, 7, 1017)
        assert torch.equal(whole, torch.cat(halves))
        assert torch.equal(whole[29:30], corrupt(images[29:30], kind, severity, 7, 1029))


@pytest.mark.parametrize("kind", ALL)
def test_draws_depend_on_seed_place_and_kind_alone(kind: str) -> None:
    images = photo_tensor(4)
    kept = images.clone()
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)
    out = corrupt(images, kind, 3, seed=7)
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    assert torch.equal(out, corrupt(images, kind, 3, seed=7)) and torch.equal(images, kept)
    assert not torch.equal(out, images) and out.data_ptr() != images.data_ptr()
    if kind not in FIXED:
        assert not torch.equal(out, corrupt(images, kind, 3, seed=8))
        assert not torch.equal(out, corrupt(images, kind, 3, seed=7, first=1))
    else:
        assert torch.equal(out, corrupt(images, kind, 3, seed=8, first=5))


def test_the_global_random_state_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    for kind in ALL:
        corrupt(photo_tensor(1), kind, 2, seed=0)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("shape", [(3, 1, 8, 8), (2, 3, 9, 12), (2, 1, 28, 28), (1, 3, 70, 65)])
@pytest.mark.parametrize("kind", ALL)
def test_any_size_grey_or_colour(kind: str, shape: tuple[int, ...]) -> None:
    images = photo_tensor(*shape)
    for severity in (1, 5):
        out = corrupt(images, kind, severity, seed=1)
        assert out.shape == images.shape and out.dtype == torch.uint8
        if not (kind == "saturate" and shape[1] == 1) and not (kind == "spatter" and shape[2] < 12):
            assert not torch.equal(out, images)


@pytest.mark.parametrize("kind", ["glass_blur", "snow", "zoom_blur", "spatter", "motion_blur"])
def test_large_images_are_corrupted_as_much_as_small_ones(kind: str) -> None:
    """The same picture at 32 and at 128 pixels: lengths grow along."""
    large = photo_tensor(4, 3, 128, 128, seed=2)
    small = torch.nn.functional.avg_pool2d(large.float(), 4).to(torch.uint8)
    ratio = change(large, kind, 3) / change(small, kind, 3)
    assert 0.5 < ratio < 2


def change(images: torch.Tensor, kind: str, severity: int) -> float:
    return (corrupt(images, kind, severity, seed=5).float() - images.float()).abs().mean().item()


# Upstream's constants do not always grow: elastic_transform and glass_blur trade one number against another, frost
# darkens as it whitens, saturate goes down and up, spatter is water up to 3 and mud from there, motion_blur's 3 and 4
# differ in taps that weigh next to nothing.
UNEVEN = {"elastic_transform", "glass_blur", "frost", "saturate", "spatter", "motion_blur"}


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind not in UNEVEN])
def test_each_severity_goes_farther(kind: str) -> None:
    images = photo_tensor(24)
    distances = [change(images, kind, severity) for severity in range(1, 6)]
    assert distances == sorted(set(distances)) and distances[4] > 1.3 * distances[0]


def test_where_upstream_is_uneven() -> None:
    images = photo_tensor(24)
    for kind, (low, high) in {
        "glass_blur": (3, 4),
        "frost": (1, 2),
        "saturate": (3, 5),
        "spatter": (1, 3),
        "motion_blur": (1, 5),
    }.items():
        assert change(images, kind, high) > 1.2 * change(images, kind, low)
    assert change(images, "elastic_transform", 1) > change(images, "elastic_transform", 5) > 2


def test_no_images_and_any_memory_layout() -> None:
    assert corrupt(torch.zeros((0, 3, 32, 32), dtype=torch.uint8), "snow", 1, 0).shape == (0, 3, 32, 32)
    images = photo_tensor(3)
    last = images.to(memory_format=torch.channels_last)
    for kind in ("snow", "jpeg_compression", "glass_blur"):
        assert torch.equal(corrupt(last, kind, 2, 1), corrupt(images, kind, 2, 1))


def test_a_wrong_kind_gets_the_nearest() -> None:
    with pytest.raises(ProblemError, match=r'found "gausian_noise"; did you mean "gaussian_noise"\?'):
        corrupt(photo_tensor(1), "gausian_noise", 1, 0)


@pytest.mark.parametrize("severity", [0, 6, -1, 2.0])
def test_a_wrong_severity(severity: int) -> None:
    with pytest.raises(ProblemError, match=rf"severity: expected 1 to 5, found {severity}"):
        corrupt(photo_tensor(1), "fog", severity, 0)


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 2, 32, 32), (1, 3, 7, 32), (1, 1, 32, 4)])
def test_a_wrong_shape(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"images: expected shape \(n, 1 or 3, h, w\)"):
        corrupt(torch.zeros(shape, dtype=torch.uint8), "fog", 1, 0)


def test_a_wrong_dtype_seed_or_place() -> None:
    with pytest.raises(ProblemError, match=r"expected dtype torch.uint8, found torch.float32"):
        corrupt(photo_tensor(1).float(), "fog", 1, 0)
    with pytest.raises(ProblemError, match="seed: expected 0 to"):
        corrupt(photo_tensor(1), "fog", 1, -1)
    with pytest.raises(ProblemError, match="first: expected a place from 0 on"):
        corrupt(photo_tensor(1), "fog", 1, 0, first=-3)
