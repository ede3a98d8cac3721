import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets, transforms

from evoens.errors import ProblemError
from evoens.settings.classification import ClassificationSettings
from evoens.tasks.data import decode
from evoens.tasks.data.folders import ENDINGS
from evoens.tasks.data.pool import Source
from evoens.tasks.data.sources import open_source


def draw(path: Path, size: tuple[int, int] = (8, 6), mode: str = "RGB") -> None:
    """Write a picture of its own, the same for the same name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(list(path.name.encode()))
    rough = Image.fromarray(rng.integers(0, 256, (5, 4, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    rough.convert(mode).save(path)


def fill(folder: Path, classes: str = "ab", n: int = 3, size: tuple[int, int] = (8, 6), mode: str = "RGB") -> Path:
    for name in classes:
        for i in range(n):
            draw(folder / name / f"{name}{i}.png", size, mode)
    return folder


def source(data: Path | str, base: Path = Path("/nowhere"), root: str | None = None, **more: object) -> Source:
    settings = ClassificationSettings.model_validate({"type": "classification", "data": str(data), **more})
    return open_source(settings, root, base)


def test_a_folder_is_torchvisions(tmp_path: Path) -> None:
    fill(tmp_path, "cab")
    draw(tmp_path / "b" / "deeper" / "x.PNG")
    draw(tmp_path / "a" / "y.bmp")
    (tmp_path / "a" / "notes.txt").write_text("no image")
    oracle = datasets.ImageFolder(str(tmp_path))
    found = source(tmp_path)
    pool = found.pool("train")
    assert found.place.pools == ("train",) and pool.classes == tuple(oracle.classes)
    assert pool.labels.tolist() == oracle.targets and pool.labels.dtype == torch.int64
    expected = np.stack([np.asarray(image) for image, _ in oracle]).transpose(0, 3, 1, 2)
    assert pool.pixels.dtype == torch.uint8 and np.array_equal(pool.pixels.numpy(), expected)
    assert pool.shape == (3, 6, 8) and datasets.folder.IMG_EXTENSIONS == ENDINGS


@pytest.mark.parametrize(("resize", "size"), [(20, 16), (None, 16), (9, 9), (40, 33)])
def test_resized_and_cropped_as_torchvision_does(tmp_path: Path, resize: int | None, size: int) -> None:
    for i, shape in enumerate([(30, 21), (21, 30), (24, 24), (16, 16), (17, 50), (9, 9), (33, 40)]):
        draw(tmp_path / "ab"[i % 2] / f"{i}.png", shape)
    crop = transforms.Compose([transforms.Resize(resize or size), transforms.CenterCrop(size)])
    oracle = datasets.ImageFolder(str(tmp_path), crop)
    pool = source(tmp_path, image_size=size, resize=resize).pool("train")
    expected = np.stack([np.asarray(image) for image, _ in oracle]).transpose(0, 3, 1, 2)
    assert np.array_equal(pool.pixels.numpy(), expected)


def test_pools_in_train_and_test_or_val(tmp_path: Path) -> None:
    for second in ("test", "val"):
        home = tmp_path / second
        fill(home / "train", n=4)
        fill(home / second, n=2)
        found = source(home)
        assert found.place.pools == ("train", "test") and found.opened == ()
        assert [len(found.pool(name)) for name in found.place.pools] == [8, 4]
    only = fill(tmp_path / "only" / "val", n=1).parent
    assert source(only).place.pools == ("test",)


def test_test_goes_before_val_unless_it_has_no_classes(tmp_path: Path) -> None:
    fill(tmp_path / "train", n=1)
    fill(tmp_path / "val", n=2)
    draw(tmp_path / "test" / "unlabelled.png")
    assert len(source(tmp_path).pool("test")) == 4
    fill(tmp_path / "test", n=3)
    assert len(source(tmp_path).pool("test")) == 6


def test_a_class_may_be_called_train_and_hidden_folders_are_none(tmp_path: Path) -> None:
    for name in ("train", "bus"):
        draw(tmp_path / name / "1.png")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    assert source(tmp_path).pool("train").classes == ("bus", "train")


def test_relative_paths_start_at_the_yamls_folder_then_at_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "yaml" / "pictures", n=1)
    fill(tmp_path / "work" / "pictures", n=2)
    fill(tmp_path / "work" / "others", n=3)
    monkeypatch.chdir(tmp_path / "work")
    assert len(source("pictures", tmp_path / "yaml").pool("train")) == 2
    assert len(source("others", tmp_path / "yaml").pool("train")) == 6
    monkeypatch.setenv("HOME", str(tmp_path / "work"))
    assert len(source("~/others").pool("train")) == 6


def test_grey_and_colour(tmp_path: Path) -> None:
    grey, mixed = fill(tmp_path / "grey", mode="L"), fill(tmp_path / "mixed")
    assert source(grey).pool("train").shape == (1, 6, 8)
    draw(mixed / "b" / "z.png", mode="L")
    draw(mixed / "a" / "0.jpg", mode="L")  # the first, and still the set is one of colours
    for channels in (None, 3):
        colour = source(mixed, channels=channels).pool("train")
        assert colour.shape == (3, 6, 8) and torch.equal(colour.pixels[-1, 0], colour.pixels[-1, 2])
        assert torch.equal(colour.pixels[0, 0], colour.pixels[0, 1])
        assert not torch.equal(colour.pixels[1, 0], colour.pixels[1, 1])
    oracle = [np.asarray(image.convert("L")) for image, _ in datasets.ImageFolder(str(mixed))]
    assert np.array_equal(source(mixed, channels=1).pool("train").pixels[:, 0].numpy(), np.stack(oracle))


def test_all_bad_images_are_named_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, n=40)
    bad = ["a7", "b9", "b13", "b20", "b21", "b30", "b31"]
    for name in bad:
        path = tmp_path / name[0] / f"{name}.png"
        path.write_bytes(path.read_bytes()[:60])
    named = r"a7\.png: expected an image, found what cannot be decoded \(.*\); and 6 more that cannot be taken: b/b13"
    for block in (1 << 26, 8 * 6 * 3 * 10):  # all at once, and ten at a time
        monkeypatch.setattr("evoens.tasks.data.decode.BLOCK", block)
        with pytest.raises(ProblemError, match=named + r"\.png, b/b20\.png, b/b21\.png, b/b30\.png, b/b31\.png, …$"):
            source(tmp_path).pool("train")
    (tmp_path / "a" / "a0.png").write_text("no image")
    with pytest.raises(ProblemError, match=r"a0\.png: expected an image.* and 7 more that"):
        source(tmp_path).pool("train")
    monkeypatch.setattr("evoens.tasks.data.decode.MOST", 3)
    with pytest.raises(ProblemError, match=r"and at least [23] more"):
        source(tmp_path).pool("train")


def test_sizes_must_be_one_or_be_made_one(tmp_path: Path) -> None:
    fill(tmp_path)
    draw(tmp_path / "b" / "wide.png", (9, 6))
    draw(tmp_path / "b" / "wider.png", (10, 6))
    expected = r"wide\.png: expected 8×6 as the first has, found 9×6; `image_size` .*; and 1 more .*: b/wider\.png$"
    with pytest.raises(ProblemError, match=expected):
        source(tmp_path).pool("train")
    assert source(tmp_path, image_size=6).pool("train").shape == (3, 6, 6)


def test_two_pools_of_one_shape_and_the_same_classes(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "test", size=(9, 9))
    found = source(tmp_path)
    found.pool("train")
    with pytest.raises(
        ProblemError, match=r"expected test images of \(3, 6, 8\), as those of train, found \(3, 9, 9\)"
    ):
        found.pool("test")
    draw(tmp_path / "train" / "c" / "1.png")
    with pytest.raises(ProblemError, match=r'test: expected the classes of .*train, found none called "c"'):
        source(tmp_path)


@pytest.fixture
def small_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evoens.tasks.data.decode.HELD", 500)
    monkeypatch.setattr("evoens.tasks.data.decode.BLOCK", 300)  # two images a block


def kept(root: Path) -> list[Path]:
    return sorted((root / ".evoens-cache").glob("*"))


@pytest.mark.usefixtures("small_memory")
def test_what_is_large_is_decoded_once_into_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, root = fill(tmp_path / "data"), tmp_path / "root"
    expected = np.stack([np.asarray(image) for image, _ in datasets.ImageFolder(str(data))]).transpose(0, 3, 1, 2)
    first = source(data, root=str(root)).pool("train")
    files = kept(root)
    assert np.array_equal(first.pixels.numpy(), expected) and [path.suffix for path in files] == [".npy"]
    first.pixels[:] = 0  # a copy: the file stays
    with monkeypatch.context() as patch:
        patch.setattr("evoens.tasks.data.pool._make", None)
        assert np.array_equal(source(data, root=str(root)).pool("train").pixels.numpy(), expected)
    source(data, root=str(root), channels=1, image_size=12).pool("train")  # seen otherwise
    os.utime(data / "a" / "a0.png", ns=(1, 1))  # changed
    source(data, root=str(root)).pool("train")
    assert len(kept(root)) == 2 + 1 and files[0] in kept(root)


@pytest.mark.usefixtures("small_memory")
def test_a_file_that_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    data, root = fill(tmp_path / "data"), tmp_path / "root"
    expected = source(data, root=str(root)).pool("train").pixels.clone()
    kept(root)[0].write_bytes(kept(root)[0].read_bytes()[:-50])
    assert torch.equal(source(data, root=str(root)).pool("train").pixels, expected)


@pytest.mark.usefixtures("small_memory")
def test_nothing_is_left_where_an_image_is_damaged(tmp_path: Path) -> None:
    data, root = fill(tmp_path / "data"), tmp_path / "root"
    (data / "b" / "b2.png").write_bytes(b"")
    with pytest.raises(ProblemError, match=r"b2\.png"):
        source(data, root=str(root)).pool("train")
    assert kept(root) == []


@pytest.mark.usefixtures("small_memory")
def test_where_the_root_cannot_be_written_the_users_cache_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, root = fill(tmp_path / "data"), tmp_path / "root"
    root.write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    source(data, root=str(root)).pool("train")
    assert len(kept(tmp_path / "cache" / "evoens")) == 1
    (tmp_path / "full").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "full"))
    with pytest.raises(ProblemError, match=r"expected room for 0\.0 GiB of decoded images, found none in .*root"):
        source(data, root=str(root)).pool("train")


@pytest.mark.parametrize("held", [0, 1 << 30])
def test_decoding_is_told_of_block_by_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    monkeypatch.setattr(decode, "HELD", held)
    monkeypatch.setattr(decode, "BLOCK", 2 * 8 * 6 * 3 + 1)
    heard: list[tuple[int, int]] = []
    settings = ClassificationSettings.model_validate({"type": "classification", "data": str(fill(tmp_path / "data"))})
    found = open_source(settings, str(tmp_path), tmp_path, lambda done, total: heard.append((done, total)))
    assert len(found.pool("train")) == 6
    assert heard == [(2, 6), (4, 6), (6, 6)]


def test_imagenet_is_read_from_its_folders_by_pool(tmp_path: Path) -> None:
    home = fill(tmp_path / "ImageNet" / "val", size=(20, 30)).parent
    draw(home / "val" / "b" / "grey.png", (30, 30), "L")
    found = source("ImageNet", root=str(tmp_path), image_size=8, resize=10)
    crop = transforms.Compose([transforms.Resize(10), transforms.CenterCrop(8)])
    oracle = datasets.ImageFolder(str(home / "val"), crop)
    expected = np.stack([np.asarray(image) for image, _ in oracle]).transpose(0, 3, 1, 2)
    assert np.array_equal(found.pool("test").pixels.numpy(), expected)
    with pytest.raises(ProblemError, match=r"train/ with a folder for each class, or ILSVRC2012_img_train\.tar and"):
        found.pool("train")
    fill(tmp_path / "val", "x")  # without a folder of its own the root serves
    (tmp_path / "ImageNet").rename(tmp_path / "elsewhere")
    assert source("ImageNet", root=str(tmp_path), image_size=4).pool("test").classes == ("x",)
