import gzip
import os
import pickle
import warnings
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
from sklearn.datasets import load_digits
from torchvision import datasets

from evoens.errors import ProblemError
from evoens.settings.classification import ClassificationSettings
from evoens.tasks.data.layout import CHANNELS, SIZES, VARIABLE, data_root
from evoens.tasks.data.pool import Source
from evoens.tasks.data.sources import open_source

FILES = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]


def source(name: str, root: Path | None = None, **more: object) -> Source:
    settings = ClassificationSettings.model_validate({"type": "classification", "data": name, **more})
    return open_source(settings, None if root is None else str(root), Path("/nowhere"))


def write_cifar(root: Path, protocol: int = 2) -> np.ndarray:
    """Write twenty images a file in the official layout and return them all, `(120, 3, 32, 32)`."""
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    x = np.random.default_rng(0).integers(0, 256, (120, 3072), np.uint8)
    for place, name in enumerate(FILES):
        batch = {"labels": [i % 10 for i in range(20)], "data": x[20 * place : 20 * place + 20]}
        (folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))
    meta = {"label_names": list("abcdefghij")}
    (folder / "batches.meta").write_bytes(pickle.dumps(meta, protocol=protocol))
    return x.reshape(120, 3, 32, 32)


def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise URLError("no network")

    for module in ("mnist", "cifar"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.download_and_extract_archive", fail)


def test_digits_are_scikit_learns() -> None:
    oracle = load_digits()
    pool = source("digits").pool("train")
    assert pool.pixels.shape == (1797, 1, 8, 8) and pool.labels.tolist() == oracle.target.tolist()
    assert int(pool.pixels.max()) == 255 and pool.classes == tuple("0123456789")
    assert np.array_equal(np.rint(pool.pixels[:, 0].numpy() / 255 * 16), oracle.images)
    assert source("digits", channels=3, image_size=16).pool("train").pixels.shape == (1797, 3, 16, 16)


def test_the_data_root_is_the_yamls_else_the_environments_else_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    assert data_root(None, tmp_path) == tmp_path / "cache" / "evoens"
    monkeypatch.setenv(VARIABLE, str(tmp_path / "there"))
    assert data_root(None, tmp_path / "yaml") == tmp_path / "there"
    assert data_root("here", tmp_path) == tmp_path / "here"
    (tmp_path / "work" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    assert data_root("here", tmp_path / "yaml").resolve() == tmp_path / "work" / "here"


def test_cifar_files_that_are_not_the_official_ones_are_read_with_a_warning(tmp_path: Path) -> None:
    x = write_cifar(tmp_path)
    found = source("CIFAR10", tmp_path)
    with pytest.warns(UserWarning, match=r"cifar-10-batches-py: data_batch_1, .*batches\.meta: not the official files"):
        train = found.pool("train")
    with pytest.warns(UserWarning, match=r": test_batch, batches\.meta: not the official files"):
        test = found.pool("test")
    assert np.array_equal(train.pixels.numpy(), x[:100]) and np.array_equal(test.pixels.numpy(), x[100:])
    assert train.labels.tolist() == [i % 10 for i in range(100)] and train.classes == tuple("abcdefghij")


def test_official_files_are_read_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x = write_cifar(tmp_path)
    monkeypatch.setattr("torchvision.datasets.utils.check_integrity", lambda path, md5=None: True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(source("CIFAR10", tmp_path).pool("test").pixels.numpy(), x[100:])


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


def test_files_that_could_do_more_than_make_arrays_are_not_opened(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    path = tmp_path / "cifar-10-batches-py" / "test_batch"
    for protocol in (0, 1, 2, 4):
        path.write_bytes(pickle.dumps({"labels": [1], "data": Trap(tmp_path / "sprung")}, protocol=protocol))
        found = r"found STACK_GLOBAL" if protocol == 4 else r"found (posix|nt) mkdir"
        with pytest.raises(ProblemError, match=rf"test_batch: expected the official file, or arrays .* {found}"):
            source("CIFAR10", tmp_path).pool("test")
    path.write_bytes(path.read_bytes()[:30])
    with pytest.raises(ProblemError, match="test_batch: expected the official file, found a damaged one"):
        source("CIFAR10", tmp_path).pool("test")
    assert not (tmp_path / "sprung").exists()


def test_labels_out_of_range_are_found(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    batch = {"labels": list(range(11)), "data": np.zeros((11, 3072), np.uint8)}
    (tmp_path / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps(batch, protocol=2))
    with (
        pytest.warns(UserWarning),
        pytest.raises(ProblemError, match="CIFAR10, test: expected labels from 0 to 9, found 0 to 10"),
    ):
        source("CIFAR10", tmp_path).pool("test")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("MNIST", r"put train-images-idx3-ubyte\.gz, .* \(from https?://.*\) into .*MNIST/raw by hand"),
        ("CIFAR10", r"put cifar-10-python\.tar\.gz \(md5 [0-9a-f]{32}, from https?://.*\) into .* by hand"),
        ("CIFAR100", r"put cifar-100-python\.tar\.gz"),
    ],
)
def test_a_download_that_fails_says_what_to_put_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, advice: str
) -> None:
    no_network(monkeypatch)
    with pytest.raises(ProblemError, match=rf"found no {name}, and its download failed .*no network.*: {advice}"):
        source(name, tmp_path).pool("train")


def write_mnist(raw: Path, n: int = 20) -> np.ndarray:
    raw.mkdir(parents=True)
    x = np.random.default_rng(0).integers(0, 256, (n, 28, 28), np.uint8)
    for start in ("train", "t10k"):
        head = b"".join(number.to_bytes(4, "big") for number in (0x803, n, 28, 28))
        (raw / f"{start}-images-idx3-ubyte").write_bytes(head + x.tobytes())
        labels = bytes(i % 10 for i in range(n))
        (raw / f"{start}-labels-idx1-ubyte").write_bytes(
            b"".join([(0x801).to_bytes(4, "big"), n.to_bytes(4, "big"), labels])
        )
    return x


def test_mnist_from_its_files_and_damaged_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    no_network(monkeypatch)
    for name in ("MNIST", "FashionMNIST"):
        raw = tmp_path / name / "raw"
        x = write_mnist(raw)
        pool = source(name, tmp_path).pool("test")
        assert np.array_equal(pool.pixels[:, 0].numpy(), x) and pool.classes == tuple(getattr(datasets, name).classes)
        images = raw / "train-images-idx3-ubyte"
        images.write_bytes(gzip.compress(images.read_bytes()))
        with pytest.raises(ProblemError, match=name):
            source(name, tmp_path).pool("train")


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "CIFAR10"])
def test_the_real_sets(name: str) -> None:
    root = Path(os.environ.get(VARIABLE, "/nowhere"))
    folder = root / ("cifar-10-batches-py" if name == "CIFAR10" else f"{name}/raw")
    if not folder.is_dir():
        pytest.skip(f"{name} is not below ${VARIABLE}")
    found = source(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pools = {pool: found.pool(pool) for pool in found.place.pools}
    assert {pool: len(images) for pool, images in pools.items()} == SIZES[name]
    assert all(images.shape[0] == CHANNELS[name] and len(images.classes) == 10 for images in pools.values())
