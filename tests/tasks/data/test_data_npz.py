from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from evoens.errors import ProblemError
from evoens.settings.classification import ClassificationSettings
from evoens.tasks.data.pool import Source
from evoens.tasks.data.sources import open_source

RNG = np.random.default_rng(0)
LABELS = np.arange(12) % 3


def pictures(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, np.uint8)


def source(path: Path, **more: object) -> Source:
    settings = ClassificationSettings.model_validate({"type": "classification", "data": str(path), **more})
    return open_source(settings, str(path.parent), path.parent)


def saved(folder: Path, **arrays: object) -> Path:
    path = folder / "set.npz"
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("form", ["(n, h, w)", "(n, h, w, c)", "(n, c, h, w)", "(n, h, w, 1)"])
def test_images_in_every_form(tmp_path: Path, form: str) -> None:
    x = pictures(*{"(n, h, w)": (12, 5, 7), "(n, h, w, 1)": (12, 5, 7, 1)}.get(form, (12, 5, 7, 3)))
    planes = x[..., None] if x.ndim == 3 else x
    stored = x.transpose(0, 3, 1, 2) if form == "(n, c, h, w)" else x
    found = source(saved(tmp_path, x=stored, y=LABELS.astype(np.uint8)))
    pool = found.pool("train")
    assert found.place.pools == ("train",) and pool.classes == ("0", "1", "2")
    assert np.array_equal(pool.pixels.numpy(), planes.transpose(0, 3, 1, 2)) and pool.labels.tolist() == list(LABELS)
    assert pool.pixels.permute(0, 2, 3, 1).is_contiguous() and pool.labels.dtype == torch.int64


def test_two_pools_and_labels_in_a_column(tmp_path: Path) -> None:
    x = pictures(18, 4, 4, 3)
    path = saved(tmp_path, x_train=x[:12], y_train=LABELS[:, None], x_test=x[12:], y_test=LABELS[:6])
    found = source(path)
    assert found.place.pools == ("train", "test")
    assert [len(found.pool(name)) for name in ("test", "train")] == [6, 12]
    assert np.array_equal(found.pool("test").pixels.numpy(), x[12:].transpose(0, 3, 1, 2))


def test_resized_as_pillow_does_and_in_other_colours(tmp_path: Path) -> None:
    x = pictures(12, 6, 6, 3)
    path = saved(tmp_path, x=x, y=LABELS)
    larger = [np.asarray(Image.fromarray(image).resize((9, 9), Image.Resampling.BILINEAR)) for image in x]
    assert np.array_equal(
        source(path, image_size=9).pool("train").pixels.numpy(), np.stack(larger).transpose(0, 3, 1, 2)
    )
    grey = source(path, channels=1).pool("train").pixels
    assert np.array_equal(
        grey[:, 0].numpy(), np.stack([np.asarray(Image.fromarray(image).convert("L")) for image in x])
    )
    path = saved(tmp_path, x=x[..., 0], y=LABELS)
    colour = source(path, channels=3, image_size=6).pool("train").pixels
    assert np.array_equal(colour.numpy(), np.repeat(x[:, None, :, :, 0], 3, axis=1))
    assert source(path, channels=3, image_size=4, resize=5).pool("train").shape == (3, 4, 4)


def test_large_ones_are_kept_by_their_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evoens.tasks.data.decode.HELD", 100)
    x = pictures(12, 6, 6)
    one = source(saved(tmp_path, x=x, y=LABELS), image_size=8).pool("train")
    other = source(saved(tmp_path, x=255 - x, y=LABELS), image_size=8).pool("train")
    assert not torch.equal(one.pixels, other.pixels)
    assert len(list((tmp_path / ".evoens-cache").glob("set-train-*.npy"))) == 2


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (str(self.path), "w")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    trap = np.array([Trap(tmp_path / "sprung")], dtype=object)
    with pytest.raises(ProblemError, match=r"y: expected an array of numbers .*; save `y\.astype\(str\)`"):
        source(saved(tmp_path, x=pictures(1, 4, 4), y=trap))
    with pytest.raises(ProblemError, match="x: expected an array of numbers"):
        source(saved(tmp_path, x=trap, y=np.zeros(1, int))).pool("train")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS + 0.5, "y: expected whole numbers, found float64 and 0.5 in row 0; a class is no quantity"),
        (np.where(LABELS == 1, np.nan, LABELS), r"found nan in 4 rows; `keep = np\.isfinite\(y\)"),
        (LABELS - 1, r"with images of every class, found -1 to 1; `problem\.classes: \[-1, 0, 1\]`"),
        (LABELS + 7, r"found 7 to 9; `problem\.classes: \[7, 8, 9\]`"),
        (
            LABELS * 2,
            r'expected images of each of 5 classes, found none of "1", "3"; splits\.allow_missing: true takes them .*, '
            r"`problem\.classes: \[0, 2, 4\]` has only those that are there",
        ),
        (np.zeros((12, 3), int), r"a single 1, found shape \(12, 3\) and in row 0 0, 0, 0; .* `y = y\.argmax\(1\)`"),
        (np.zeros((12, 3, 1), int), r"of shape \(n,\), found shape \(12, 3, 1\)"),
        (LABELS * 1j, "expected integers or names, found complex128"),
        (np.zeros(0, int), "one label an image"),
    ],
)
def test_labels_that_cannot_be(tmp_path: Path, labels: np.ndarray, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        source(saved(tmp_path, x=pictures(12, 4, 4), y=labels))


NAMES = np.array(["cat", "ape", "dog"])[LABELS]


@pytest.mark.parametrize(
    ("labels", "classes", "codes"),
    [
        (LABELS.astype(np.float32), "0 1 2", LABELS),
        (LABELS + 1, "1 2 3", LABELS),  # MATLAB's
        (LABELS > 0, "0 1", LABELS > 0),
        (np.eye(3)[LABELS], "0 1 2", LABELS),
        (np.eye(3, dtype=bool)[LABELS], "0 1 2", LABELS),
        (NAMES, "ape cat dog", [1, 0, 2] * 4),
        (NAMES.astype("S"), "ape cat dog", [1, 0, 2] * 4),
        (np.array([["9", "10", "1"][i] for i in LABELS]), "1 9 10", [1, 2, 0] * 4),  # as numbers
    ],
)
def test_labels_of_one_meaning(tmp_path: Path, labels: np.ndarray, classes: str, codes: object) -> None:
    pool = source(saved(tmp_path, x=pictures(12, 4, 4), y=labels)).pool("train")
    assert pool.classes == tuple(classes.split()) and np.array_equal(pool.labels, np.asarray(codes))


def test_the_settings_say_what_integers_mean(tmp_path: Path) -> None:
    path = saved(tmp_path, x=pictures(12, 4, 4), y=LABELS * 10 - 10)
    pool = source(path, classes=(10, -10, 0)).pool("train")
    assert pool.classes == ("10", "-10", "0") and pool.labels.tolist() == [1, 2, 0] * 4
    with pytest.raises(ProblemError, match=r'problem\.classes: .*set\.npz, found "100"; did you mean "10"'):
        source(path, classes=(100, -10, 0)).pool("train")
    rare = source(saved(tmp_path, x=pictures(12, 4, 4), y=LABELS * 2), splits={"allow_missing": True}).pool("train")
    assert rare.classes == tuple("01234") and rare.labels.tolist() == [0, 2, 4] * 4


@pytest.mark.parametrize("kind", ["float32 0–1", "float64 0–1", "float16 0–255", "float64 0–255", "int64", "bool"])
def test_numbers_with_one_white_are_the_nearest_bytes(tmp_path: Path, kind: str) -> None:
    x = pictures(12, 4, 4)
    x[0, 0, :2] = 0, 255
    dtype, _, span = kind.partition(" ")
    if dtype == "bool":
        x = np.where(x > 99, np.uint8(255), np.uint8(0))
    stored = (x / 255 if span == "0–1" or dtype == "bool" else x).astype(dtype)
    assert np.array_equal(source(saved(tmp_path, x=stored, y=LABELS)).pool("train").pixels[:, 0], x)
    if span == "0–255" and dtype == "float64":
        near = np.clip(x - 0.4, 0, 255)
        assert np.array_equal(source(saved(tmp_path, x=near, y=LABELS)).pool("train").pixels[:, 0], x)


def test_a_class_that_only_one_pool_has(tmp_path: Path) -> None:
    x = pictures(12, 4, 4)
    path = saved(tmp_path, x_train=x, y_train=LABELS, x_test=x[:6], y_test=LABELS[:6] % 2)
    with pytest.raises(
        ProblemError, match=r'set\.npz: y_test: expected images of .* 3 classes, found none of "2"; splits'
    ):
        source(path)
    found = source(path, splits={"allow_missing": True})
    assert found.pool("test").classes == found.pool("train").classes == ("0", "1", "2")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.full((12, 4, 4), 0.2),
            r"found float64 from 0\.2 to 0\.2; if 0\.2 is white, write `x = \(x / 0\.2 \* 255\)",
        ),
        (
            pictures(12, 4, 4) / 127.5 - 1,
            r"expected bytes .* if normalised, write `x = \(\(x \* std \+ mean\) \* 255\)",
        ),
        (pictures(12, 4, 4) % 17 * 1.0, r"found float64 from 0 to 16; if 16 is white, write `x = \(x / 16 \* 255\)"),
        (pictures(12, 4, 4) * np.uint16(257), r"found uint16 from \d+ to \d{5}; if \d{5} is white"),
        ((pictures(12, 4, 4) % 2).astype(int), "found int64 from 0 to 1; if 1 is white"),
        (
            np.where(pictures(12, 4, 4) > 250, np.nan, 0.5),
            r"found NaN or ∞ in \d+ images, first \d+; `keep = ",
        ),
        (pictures(12, 4, 4) * 1j, "found complex128"),
        (pictures(11, 4, 4), "expected 12 images, one a label, found 11"),
        (pictures(12, 4, 4, 4), r"with c 1 or 3, found \(12, 4, 4, 4\)"),
        (pictures(12, 3, 8, 3), r"with c 1 or 3, found \(12, 3, 8, 3\)"),
        (pictures(12, 16), r"found \(12, 16\)"),
    ],
)
def test_images_that_cannot_be(tmp_path: Path, images: np.ndarray, message: str) -> None:
    with pytest.raises(ProblemError, match=message):
        source(saved(tmp_path, x=images, y=LABELS)).pool("train")
