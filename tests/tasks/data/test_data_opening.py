import json
from pathlib import Path

import numpy as np
import pytest
import torch

from evoens.errors import ProblemError
from evoens.settings.classification import ClassificationSettings
from evoens.tasks.data.data import Data, open_data


def opened(data: object, seed: int = 0, **more: object) -> Data:
    settings = ClassificationSettings.model_validate({"type": "classification", "data": str(data), **more})
    return open_data(settings, None, seed, Path("/nowhere"))


@pytest.fixture
def npz(tmp_path: Path) -> Path:
    rng, y = np.random.default_rng(0), np.arange(120) % 4
    x = rng.integers(0, 256, (120, 6, 5, 3), np.uint8)
    np.savez(tmp_path / "set.npz", x_train=x[:100], y_train=y[:100], x_test=x[100:], y_test=y[100:])
    return tmp_path / "set.npz"


def test_four_splits_from_two_pools(npz: Path) -> None:
    data = opened(npz)
    assert {name: len(images) for name, images in data.splits.items()} == {
        "train": 80,
        "search": 10,
        "select": 10,
        "test": 20,
    }
    assert data.shape == (3, 6, 5) and data.classes == ("0", "1", "2", "3")
    with np.load(npz) as arrays:
        search = data.splits["search"]
        assert np.array_equal(search.take(torch.arange(10)).permute(0, 2, 3, 1), arrays["x_train"][search.places])
        assert np.array_equal(search.labels, arrays["y_train"][search.places])
    with pytest.raises(KeyError):
        data.splits["validation"]


def test_normalised_by_the_train_split_or_as_the_settings_say(npz: Path) -> None:
    data = opened(npz)
    train = data.splits["train"]
    values = train.take(torch.arange(len(train))).double() / 255
    assert np.allclose(data.normalise.mean, values.mean((0, 2, 3)))
    shown = data.normalise(train.take(torch.arange(len(train)))).double()
    assert shown.mean((0, 2, 3)).abs().max() < 1e-6 and (shown.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-6
    given = opened(npz, normalise={"mean": (0.5,) * 3, "std": (0.25,) * 3})
    assert given.normalise.mean == (0.5,) * 3
    with pytest.raises(ProblemError, match=r"problem\.normalise\.mean: expected 3 numbers, .* found 1"):
        _ = opened(npz, normalise={"mean": (0.5,), "std": (0.25,)}).normalise


def test_a_pool_is_not_read_before_it_is_needed(npz: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = opened(npz, splits={name: {"from": "test", "count": 4} for name in ("search", "select", "test")})
    read = []
    inner = data._source._read
    monkeypatch.setattr(data._source, "_read", lambda pool: (read.append(pool), inner(pool))[1])
    assert data.shape == (3, 6, 5) and len(data.splits["search"]) == 4 and read == ["test"]
    _ = data.normalise
    assert read == ["test", "train"]


def test_the_description_is_json_of_the_pools_that_were_opened(npz: Path) -> None:
    fixed = {"mean": (0.5,) * 3, "std": (0.25,) * 3}
    data = opened(npz, seed=5, normalise=fixed)
    assert len(data.splits["search"]) == 10
    facts = data.describe()
    assert json.loads(json.dumps(facts)) == facts and list(facts["splits"]) == ["train", "search", "select"]
    search = facts["splits"]["search"]
    assert (search["pool"], search["count"]) == ("train", 10) and sum(search["per_class"]) == 10
    assert search["indices"] == data.splits["search"].places.tolist()
    assert facts["seed"] == 5 and facts["normalise"]["std"] == [0.25] * 3
    assert len(data.splits["test"]) == 20 and data.describe()["splits"]["test"]["indices"] is None
    assert data.describe(["train"]) == opened(npz, seed=5, normalise=fixed).describe(["train"])  # whatever is open
    assert list(data.describe(["test", "train"])["splits"]) == ["train", "test"]
    assert opened(npz, seed=6, normalise=fixed).splits["search"].places.tolist() != search["indices"]


def test_a_split_from_a_pool_that_is_not_there(tmp_path: Path) -> None:
    data = opened("digits")
    with pytest.raises(ProblemError, match=r"splits\.test\.from: digits has no test images; write `test: \{from: "):
        data.splits["test"]
    assert len(data.splits["search"]) == 180
    with pytest.raises(ProblemError, match=r'expected one of digits, .* found "nothing/here"'):
        opened("nothing/here")


def test_the_train_split_is_not_insisted_on_where_it_is_not_needed(tmp_path: Path) -> None:
    y = np.array([0] * 90 + [1] * 7 + [2] * 3)
    np.savez(tmp_path / "rare.npz", x=np.random.default_rng(0).integers(0, 256, (100, 4, 4), np.uint8), y=y)
    cuts = {name: {"from": "train", "count": 30} for name in ("search", "select")} | {
        "test": {"from": "train", "count": 40}
    }
    data = opened(tmp_path / "rare.npz", splits=cuts, normalise={"mean": (0.5,), "std": (0.5,)})
    assert [data.splits[name].labels.unique().tolist() for name in ("search", "select", "test")] == [[0, 1, 2]] * 3
    assert data.normalise.mean == (0.5,)
    with pytest.raises(ProblemError, match=r"splits\.train: expected images, found none"):
        _ = opened(tmp_path / "rare.npz", splits=cuts).normalise
