import ast
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from evoens.settings.classification import DATASETS, ClassificationConfig
from evoens.settings.fault import Fault
from evoens.tasks.data.checks import data_faults

FROM_TRAIN = {"test": {"from": "train", "count": 0.2}}


def faults(data: object, base: Path, root: Path | None = None, tune: bool = False, **problem: Any) -> list[Fault]:
    value = {
        **ClassificationConfig.sample,
        "problem": {"type": "classification", "data": str(data), **problem},
        "data": {"root": None if root is None else str(root)},
        "tune": {} if tune else None,
    }
    return list(data_faults(ClassificationConfig.model_validate(value), base))


def one(data: object, base: Path, root: Path | None = None, tune: bool = False, **problem: Any) -> tuple[str, str]:
    found = faults(data, base, root, tune, **problem)
    assert len(found) == 1, found
    return ".".join(map(str, found[0].keys)), found[0].message


def fill(folder: Path, classes: Sequence[str] = "ab") -> Path:
    for name in classes:
        (folder / name).mkdir(parents=True)
        Image.new("RGB", (4, 4)).save(folder / name / "1.png")
    return folder


def test_what_is_right_has_no_faults(tmp_path: Path) -> None:
    fill(tmp_path / "two" / "train")
    fill(tmp_path / "two" / "test")
    fill(tmp_path / "one")
    np.savez(tmp_path / "set.npz", x=np.zeros(3), y=np.zeros(3))
    for name in ("MNIST", "FashionMNIST", "CIFAR10", "CIFAR100", "two"):
        assert faults(name, tmp_path) == []
    for name in ("digits", "one", "set.npz", str(tmp_path / "one")):
        assert faults(name, tmp_path, splits=FROM_TRAIN) == []


@pytest.mark.parametrize(
    ("name", "hint"),
    [("cifar10", '"CIFAR10"'), ("Fashion-MNIST", '"FashionMNIST"'), ("brids", '"birds"'), ("sub/brids.npz", None)],
)
def test_a_name_that_is_nothing(tmp_path: Path, name: str, hint: str | None) -> None:
    fill(tmp_path / "birds")
    keys, message = one(name, tmp_path)
    expected = f"expected one of {', '.join(DATASETS)}, a folder or an .npz file"
    assert keys == "problem.data" and message.startswith(f'{expected}, found "{name}", which is not there')
    assert message.endswith(f"; did you mean {hint}?" if hint else "there")


def test_folders_that_hold_no_classes(tmp_path: Path) -> None:
    empty, files = tmp_path / "empty", tmp_path / "files"
    empty.mkdir()
    files.mkdir()
    Image.new("L", (4, 4)).save(files / "1.png")
    assert one(empty, tmp_path) == (
        "problem.data",
        f"{empty}: expected a folder of images for each class, found 0 files",
    )
    assert one(files, tmp_path)[1].endswith("for each class, found 1 files")
    for name in ("train", "test"):
        (tmp_path / "flat" / name).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "flat" / name / "1.png")
    assert one("flat", tmp_path)[1].endswith("for each class, found images in test/, train/ itself")


def test_classes_without_images(tmp_path: Path) -> None:
    fill(tmp_path / "set", "ab")
    (tmp_path / "set" / "c" / "deep").mkdir(parents=True)
    (tmp_path / "set" / "c" / "deep" / "notes.txt").write_text("")
    keys, message = one("set", tmp_path)
    assert keys == "problem.data" and message.endswith(
        'in every class, found none in "c"; add some, take the folder out, or write splits.allow_missing: true'
    )


def test_classes_of_one_pool_only(tmp_path: Path) -> None:
    fill(tmp_path / "set" / "train", "abc")
    fill(tmp_path / "set" / "val", "abd")
    assert one("set", tmp_path)[1].endswith('found none called "c"; splits.allow_missing: true allows it')


def test_classes_are_those_that_are_there(tmp_path: Path) -> None:
    fill(tmp_path / "set", ("cat", "dog"))
    assert faults("set", tmp_path, splits=FROM_TRAIN, classes=("dog", "cat")) == []
    keys, message = one("set", tmp_path, splits=FROM_TRAIN, classes=("dog", "cta"))
    assert keys == "problem.classes" and message == 'expected the classes of set, found "cta"; did you mean "cat"?'


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path / "set")

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("evoens.tasks.data.folders.Tree", refuse)
    assert "found what cannot be read ([Errno 13] Permission denied" in one("set", tmp_path)[1]


def test_npz_files(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no zip")
    assert "expected a folder of images or an .npz file, found neither" in one("text.npz", tmp_path)[1]
    np.savez(tmp_path / "half.npz", x_train=np.zeros(3), y_train=np.zeros(3), x_test=np.zeros(3))
    message = one("half.npz", tmp_path)[1]
    assert message.endswith("x_test, x_train, y_train: no y_test")
    np.savez(tmp_path / "other.npz", images=np.zeros(3))
    assert one("other.npz", tmp_path)[1].endswith("found images: no x and no y")


def test_splits_from_a_pool_that_is_not_there(tmp_path: Path) -> None:
    np.savez(tmp_path / "set.npz", x=np.zeros(3), y=np.zeros(3))
    fill(tmp_path / "one")
    for name in ("digits", "set.npz", "one"):
        expected = (
            f"expected a pool that there is: {name} has no test images; write `test: {{from: train, count: 0.2}}`"
        )
        assert one(name, tmp_path) == ("problem.splits.test.from", expected)
    fill(tmp_path / "late" / "val")
    cuts = {name: {"from": "test", "count": 0.3} for name in ("search", "select", "test")}
    known = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    assert faults("late", tmp_path, splits=cuts, normalise=known) == []
    assert one("late", tmp_path, tune=True, splits=cuts, normalise=known)[0] == "problem.splits.train.from"


def test_more_images_than_a_named_set_has(tmp_path: Path) -> None:
    cuts = {"search": {"from": "train", "count": 40000}, "select": {"from": "train", "count": 30000}}
    keys, message = one("MNIST", tmp_path, splits=cuts)
    assert keys == "problem.splits.select.count"
    assert message == "expected at most the 60000 images of train in all, found 40000 (search) + 30000 (select)"
    keys, message = one("MNIST", tmp_path, splits={"test": {"from": "test", "count": 10001}})
    assert keys == "problem.splits.test.count" and "the 10000 images of test" in message
    all_of_it = {"search": {"from": "train", "count": 30000}, "select": {"from": "train", "count": 30000}}
    assert one("MNIST", tmp_path, splits=all_of_it)[1].startswith("expected fewer than the 60000 images of train")


def test_one_mean_a_channel(tmp_path: Path) -> None:
    three = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
    assert one("MNIST", tmp_path, normalise=three) == (
        "problem.normalise.mean",
        "expected 1 number, as MNIST is grey, found 3; `problem.channels: 3` shows them in colour",
    )
    assert faults("MNIST", tmp_path, normalise=three, channels=3) == []


def test_imagenet_is_asked_for_only_where_it_is_used(tmp_path: Path) -> None:
    cuts = {name: {"from": "test", "count": 0.3} for name in ("search", "select", "test")}
    more = {"splits": cuts, "image_size": 224, "resize": 256, "normalise": {"mean": (0.5,) * 3, "std": (0.5,) * 3}}
    keys, message = one("ImageNet", tmp_path, tmp_path, **more)
    assert keys == "problem.data" and "val/ with a folder for each class, or ILSVRC2012_img_val.tar and" in message
    fill(tmp_path / "ImageNet" / "val")
    assert faults("ImageNet", tmp_path, tmp_path, **more) == []
    assert one("ImageNet", tmp_path, tmp_path, tune=True, **more)[0] == "problem.data"
    fault = faults("ImageNet", tmp_path, tmp_path, splits=cuts, normalise=more["normalise"])[0]
    assert fault.keys == ("problem", "image_size") and fault.missing


def test_nothing_heavy_is_imported_and_it_is_quick(tmp_path: Path) -> None:
    code = "import sys, evoens.tasks.data.checks as m; print(sorted({n.split('.')[0] for n in sys.modules}))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"torch", "torchvision", "sklearn", "numpy", "PIL"} & set(ast.literal_eval(shown))
    folder = tmp_path / "many"
    for i in range(200):
        (folder / str(i)).mkdir(parents=True)
        (folder / str(i) / "1.png").write_bytes(b"")
    taken = []
    for _ in range(3):  # the machine may be busy
        start = time.perf_counter()
        assert faults(folder, tmp_path, splits=FROM_TRAIN) == []
        taken.append(time.perf_counter() - start)
    assert min(taken) < 0.2
