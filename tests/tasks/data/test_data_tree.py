"""What of a folder is counted, what is not, and which folders are splits."""

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evoens.errors import ProblemError
from evoens.settings.classification import ClassificationSettings
from evoens.tasks.data.folders import split_of
from evoens.tasks.data.pool import Source
from evoens.tasks.data.sources import open_source


def draw(path: Path, form: str | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(list(os.fsencode(path.name))).integers(0, 256, (4, 4, 3), np.uint8)
    Image.fromarray(pixels).save(path, form)


def fill(folder: Path, classes: str = "ab", n: int = 2) -> Path:
    for name in classes:
        for i in range(n):
            draw(folder / name / f"{name}{i}.png")
    return folder


def source(data: Path, **more: Any) -> Source:
    if "classes" in more:
        more["classes"] = tuple(more["classes"])
    settings = ClassificationSettings.model_validate({"type": "classification", "data": str(data), **more})
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = open_source(settings, None, data)
        for name in found.place.pools:
            found.pool(name)
    assert [str(warning.message) for warning in said] == found.notes  # each once
    return found


def counts(found: Source) -> dict[str, list[int]]:
    return {
        name: np.bincount(found.pool(name).labels, minlength=len(found.pool(name).classes)).tolist()
        for name in found.place.pools
    }


def test_a_clean_folder_needs_no_words(tmp_path: Path) -> None:
    assert source(fill(tmp_path)).notes == []


def test_what_a_system_or_a_notebook_puts_there_is_left_out_and_told(tmp_path: Path) -> None:
    fill(tmp_path)
    for name in ("a/.ipynb_checkpoints/a0-checkpoint.png", "__MACOSX/a/._a0.png", "a/._a0.png", "b/.hidden/x.png"):
        draw(tmp_path / name)
    for name in ("a/Thumbs.db", ".DS_Store"):
        (tmp_path / name).write_bytes(b"\0")
    found = source(tmp_path)
    assert found.pool("train").classes == ("a", "b") and counts(found) == {"train": [2, 2]}
    (note,) = found.notes
    assert note.startswith(f"{tmp_path}: counted 4 images of 2 classes; left out: 6 as hidden, or a system's (")


def test_what_has_another_ending_is_taken_if_it_is_a_picture(tmp_path: Path) -> None:
    fill(tmp_path)
    for name, form in (("x.gif", "GIF"), ("x.jfif", "JPEG"), ("x", "PNG"), ("x.photo", "JPEG"), ("x.PNG_", "WEBP")):
        draw(tmp_path / "a" / name, form)
    (tmp_path / "a" / "notes.txt").write_text("P6 no picture")
    (tmp_path / "a" / "x.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "b" / "empty").write_bytes(b"")
    draw(tmp_path / "loose.png")
    found = source(tmp_path)
    assert counts(found) == {"train": [7, 2]}
    assert found.notes[0].endswith(
        "counted 9 images of 2 classes; left out: 1 as in no class's folder (loose.png), "
        "3 as no image (a/notes.txt, a/x.heic, b/empty)"
    )


def test_links_are_followed_and_nothing_is_counted_twice(tmp_path: Path) -> None:
    home, apart = fill(tmp_path / "set"), fill(tmp_path / "apart", "c", 3)
    for name, to in {
        "a/up": tmp_path / "set",  # a loop
        "a/further": tmp_path,  # a loop through what is around
        "a/other": home / "b",
        "a/copy.png": home / "a" / "a0.png",
        "b/gone.png": tmp_path / "nothing.png",
        "b/round": home / "b" / "round",
        "c": apart / "c",  # from elsewhere, and once
        "d/again": apart / "c",
        "d/one.png": apart / "c" / "c0.png",
    }.items():
        (home / name).parent.mkdir(exist_ok=True)
        (home / name).symlink_to(to)
    draw(home / "d" / "d0.png")
    draw(tmp_path / "single.png")
    (home / "a" / "single.png").symlink_to(tmp_path / "single.png")
    found = source(home)
    assert found.pool("train").classes == tuple("abcd") and counts(found) == {"train": [3, 2, 3, 1]}
    assert "6 as linked to what is counted anyway (a/copy.png, a/further, a/other, … 3 more)" in found.notes[0]
    assert "2 as a link to nothing (b/gone.png, b/round)" in found.notes[0]


def test_a_name_that_is_no_utf8_is_a_class_like_any_other(tmp_path: Path) -> None:
    fill(tmp_path)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9"))
    try:
        draw(odd / "x.png")
    except OSError:
        pytest.skip("this file system wants UTF-8")
    found = source(tmp_path)
    assert found.pool("train").classes == ("a", "b", r"caf\xe9") and counts(found) == {"train": [2, 2, 1]}


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("Train", "Test"),
        ("training", "validation"),
        ("Training", "Testing"),
        ("train_set", "test_set"),
        ("trainingSet", "testSet"),
        ("TRAIN", "val"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("train-images", "valid"),
    ],
)
def test_common_names_of_splits(tmp_path: Path, train: str, test: str) -> None:
    fill(tmp_path / train, n=3)
    fill(tmp_path / test, n=1)
    found = source(tmp_path)
    assert counts(found) == {"train": [3, 3], "test": [1, 1]} and found.notes == []


def test_what_lies_beside_splits_is_told(tmp_path: Path) -> None:
    for name, n in (("Train", 3), ("Val", 2), ("Test", 1)):
        fill(tmp_path / name, n=n)
    draw(tmp_path / "unlabelled" / "x.png")
    (tmp_path / "README.md").write_text("")
    found = source(tmp_path)
    assert counts(found) == {"train": [3, 3], "test": [1, 1]}
    assert found.notes == [
        f"{tmp_path}: left out: 1 as in no class's folder (README.md), 2 as beside Test and Train (Val, unlabelled)"
    ]


def test_what_may_mean_two_things_is_asked(tmp_path: Path) -> None:
    fill(tmp_path / "two" / "train")
    fill(tmp_path / "two" / "Training")
    with pytest.raises(ProblemError, match="expected one folder of train images, found Training/ and train/; move one"):
        source(tmp_path / "two")
    fill(tmp_path / "mixed" / "training")
    draw(tmp_path / "mixed" / "running" / "1.png")
    with pytest.raises(ProblemError, match=r'of splits .*, found both \("training", "running"\); move or rename'):
        source(tmp_path / "mixed")
    fill(tmp_path / "wrapped" / "archive")
    with pytest.raises(ProblemError, match=r"two classes or more, found one, archive/, with folders.*data: .*archive`"):
        source(tmp_path / "wrapped")


@pytest.mark.parametrize("name", ["bus", "test_bench", "trainer", "no training", "images", "devil", "0", "attest"])
def test_names_that_mean_no_split(name: str) -> None:
    assert split_of(name) is None


def test_numbers_are_sorted_as_numbers_unless_the_settings_say_otherwise(tmp_path: Path) -> None:
    names = [str(i) for i in range(12)]
    for name in names:
        draw(tmp_path / name / f"{name}.png")
    found = source(tmp_path)
    assert found.pool("train").classes == tuple(names) and found.pool("train").labels.tolist() == list(range(12))
    assert found.notes == [
        f"{tmp_path}: classes are sorted as numbers, not as text (0, 1, 10, …); problem.classes gives another order"
    ]
    text = source(tmp_path, classes=sorted(names)).pool("train")
    assert text.classes == tuple(sorted(names))
    first = found.pool("train").pixels[found.pool("train").labels == 10]
    assert np.array_equal(text.pixels[text.labels == 2], first)


def test_classes_must_be_those_that_are_there(tmp_path: Path) -> None:
    for name in ("cat", "dog", "emu"):
        draw(tmp_path / name / "1.png")
    for classes, message in (
        (["dog", "catt", "emu"], r'problem\.classes: .*, found "catt"; did you mean "cat"\?'),
        (["dog", "emu"], r'expected all 3 classes of .*, found none called "cat"'),
        (["dog", "cat", "emu", "x"], r'found "x"; there are "cat", "dog", "emu"'),
    ):
        with pytest.raises(ProblemError, match=message) as error:
            source(tmp_path, classes=classes)
        assert error.value.keys == ("problem", "classes")
    with pytest.raises(ValueError, match='classes: expected each class once, found "cat" 2 times'):
        source(tmp_path, classes=["cat", "dog", "cat"])
    (tmp_path / "none").mkdir()
    rare = source(tmp_path, classes=["dog", "zoo", "cat", "none", "emu"], splits={"allow_missing": True})
    assert counts(rare) == {"train": [1, 0, 1, 0, 1]}


def test_names_say_enough_where_there_are_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file is opened or asked for its size to know that it is a picture."""
    fill(tmp_path, "abc", 5)
    monkeypatch.setattr(Image, "open", None)
    monkeypatch.setattr(os, "stat", None)
    from evoens.tasks.data.folders import Tree

    tree = Tree(tmp_path)
    assert [path.name for name in tree.classes() for path in tree.images(tmp_path / name)][:6] == [
        *(f"a{i}.png" for i in range(5)),
        "b0.png",
    ]
