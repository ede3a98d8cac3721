"""Classification as a task: a network trained here, or a user's own, on its way to a problem and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import own_classifier
import pytest
import torch
from safetensors.torch import load_file

from evoens.config.yaml_file import read_yaml
from evoens.errors import CheckpointError, EvoensError
from evoens.parent import fingerprint
from evoens.progress import Progress
from evoens.settings.classification import ClassificationConfig
from evoens.storage.card import read_card
from evoens.storage.checkpoint import CheckpointStore
from evoens.tasks import open_task
from evoens.tasks.classification_task import ClassificationTask

EPOCHS, STEPS = 4, 8


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own classifier, and its images as an `.npz` too."""
    base = tmp_path_factory.mktemp("own")
    own_classifier.write_own(base)
    images, labels = own_classifier.pictures()
    np.savez(base / "set.npz", x=images, y=labels)
    return base


def config(folder: Path, **changes: Any) -> ClassificationConfig:
    """The user's YAML; `changes` go over it, key by key."""
    value = read_yaml(folder / "own.yaml").value
    for key, change in changes.items():
        value[key] = {**value.get(key, {}), **change} if isinstance(change, dict) else change
    return ClassificationConfig.model_validate(value)


def own(folder: Path, **changes: Any) -> ClassificationTask:
    found = open_task(config(folder, **changes), folder)
    assert isinstance(found, ClassificationTask)
    return found


def trains(folder: Path, **changes: Any) -> ClassificationTask:
    """A task whose parent is trained: a small network of ours."""
    train = {"epochs": EPOCHS, "batch": 4, "learning_rate": 0.01, "precision": "float32"}
    parent = {"network": "mlp", "arguments": {"hidden": (8,)}, "checkpoint": "net.safetensors", "train": train}
    problem = {"data": "set.npz", "normalise": None, **changes.pop("problem", {})}
    return own(folder, parent={**parent, **changes.pop("parent", {})}, problem=problem, **changes)


@pytest.fixture(scope="module")
def trained(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished training."""
    path = tmp_path_factory.mktemp("trained")
    told: list[Progress] = []
    trains(folder).train(path, told.append)
    assert [p.steps for p in told] == list(range(1, EPOCHS * STEPS + 1))
    return path


# ---- a parent trained here


def test_trained_exported_loaded_and_measured(folder: Path, trained: Path, tmp_path: Path) -> None:
    task = trains(folder)
    path = task.export(trained, tmp_path / "sub" / "net.safetensors", "how it was made")
    assert path == tmp_path / "sub" / "net.safetensors"
    assert sorted(p.name for p in path.parent.iterdir()) == ["net.json", "net.safetensors"]
    parent, card = task.load(path)
    assert card == read_card(path) and card["command"] == "how it was made"
    saved, _ = CheckpointStore(trained / "checkpoints").latest()
    assert saved is not None
    module = {name[7:]: value for name, value in saved.tensors.items() if name.startswith("module/")}
    assert parent.fingerprint == fingerprint(module)
    problem = task.problem(parent)
    assert problem.evaluate(parent.predict, problem.split("test")).score > 0.6
    assert problem.normalise.mean == tuple(card["normalise"]["mean"])


def test_the_card_says_what_was_trained_how_and_on_what(folder: Path, trained: Path, tmp_path: Path) -> None:
    task = trains(folder)
    card = read_card(task.export(trained, tmp_path / "net"))
    weights = load_file(tmp_path / "net.safetensors")
    assert card["weights"] == sum(w.numel() for w in weights.values()) == 192 * 8 + 8 + 8 * 3 + 3
    assert card["architecture"] == {
        "target": "evoens.tasks.networks.mlp:MLP",
        "arguments": {"classes": 3, "features": 192, "hidden": [8]},
        "sha256": None,
    }
    expected = {"data": "set.npz", "shape": [3, 8, 8], "classes": ["0", "1", "2"], "network": "mlp", "seed": 0}
    assert {key: card[key] for key in expected} == expected
    assert card["splits"]["search"] == {"from": "train", "count": 30} and card["split_seed"] == 0
    assert (card["epochs"], card["train"]["batch"], card["precision"]) == (EPOCHS, 4, "float32")
    assert [row["epoch"] for row in card["curve"]] == [1, 2, 3, 4]
    assert card["curve"][-1]["loss"] < card["curve"][0]["loss"]
    assert card["seconds"] == pytest.approx(sum(row["seconds"] for row in card["curve"]))
    assert task.summary(card) == f"4 epochs, accuracy {card['curve'][-1]['accuracy']:.1%} on what it learnt from"
    assert task.budget == "4 epochs"


def test_stopped_it_goes_on_to_the_same_bits(folder: Path, trained: Path, tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.steps == 2 * STEPS + 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trains(folder).train(tmp_path / "stopped", stop)
    trains(folder).train(tmp_path / "stopped", lambda _: None)  # arguments are tuples here and lists in the checkpoint
    cards = [read_card(trains(folder).export(path, tmp_path / path.name)) for path in (tmp_path / "stopped", trained)]
    assert cards[0]["sha256"] == cards[1]["sha256"]


def test_what_would_train_otherwise_is_refused(folder: Path, trained: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        trains(folder, seed=1, parent={"arguments": {"hidden": (9,)}}, problem={"augment": ("flip",)}).train(
            trained, lambda _: None
        )
    assert [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]] == [
        "architecture.arguments.hidden",
        "augment",
        "seed",
    ]


def test_a_user_s_file_may_lie_elsewhere_when_its_training_goes_on(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for name in ("model.py", "set.npz", "own.yaml"):
        (tmp_path / "other" / name).write_bytes((folder / name).read_bytes())
    named = {"network": "model.py:build", "arguments": {}}
    first, moved = trains(folder, parent=named), trains(tmp_path / "other", parent=named)
    assert first._identity() == moved._identity() and first.architecture != moved.architecture
    changed = (folder / "model.py").read_text().replace("width=6", "width=5")
    (tmp_path / "other" / "model.py").write_text(changed)
    assert first._identity() != trains(tmp_path / "other", parent=named)._identity()


def test_nothing_to_export(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a training with a checkpoint, found none"):
        trains(folder).export(tmp_path, tmp_path / "net")


def test_weights_begin_as_the_seed_says(folder: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = (trains(folder, seed=seed).untrained() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.fingerprint == again.fingerprint != other.fingerprint


# ---- what a parent knows already


def exported(folder: Path, trained: Path, tmp_path: Path, **card: Any) -> Path:
    path = trains(folder).export(trained, tmp_path / "net.safetensors")
    file = path.with_suffix(".json")
    file.write_text(json.dumps({**json.loads(file.read_text()), **card}))
    return path


def test_images_look_as_they_did_in_training_unless_the_yaml_says_how(
    folder: Path, trained: Path, tmp_path: Path
) -> None:
    learnt = {"mean": [0.1, 0.2, 0.3], "std": [1.0, 2.0, 3.0]}
    path = exported(folder, trained, tmp_path, normalise=learnt)
    task = trains(folder)
    problem = task.problem(task.load(path)[0])
    assert problem.normalise.std == (1.0, 2.0, 3.0) and problem.record()["normalise"] == learnt
    given = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
    task = trains(folder, problem={"normalise": given})
    assert task.problem(task.load(path)[0]).normalise.mean == (0.0, 0.0, 0.0)


def test_runs_with_other_seeds_share_a_parent_and_its_splits(folder: Path, trained: Path, tmp_path: Path) -> None:
    path, task = exported(folder, trained, tmp_path), trains(folder, seed=3)
    task.load(path)
    assert torch.equal(task.data.splits["test"].places, trains(folder).data.splits["test"].places)


@pytest.mark.parametrize(
    "problem",
    [{"split_seed": 1}, {"splits": {name: {"from": "train", "count": 35} for name in ("search", "select", "test")}}],
    ids=["seed", "counts"],
)
def test_a_parent_is_not_measured_on_what_it_has_learnt(
    folder: Path, trained: Path, tmp_path: Path, problem: dict[str, Any]
) -> None:
    path, task = exported(folder, trained, tmp_path), trains(folder, problem=problem)
    with pytest.raises(CheckpointError, match="has not learnt on images of search, select and test, found") as e:
        task.load(path)
    assert e.value.keys == ("parent", "checkpoint") and str(e.value).endswith("--retrain trains one anew")
    learnt = set(trains(folder).data.splits["train"].places.tolist())
    seen = {name: len(learnt & set(task.data.splits[name].places.tolist())) for name in ("search", "select", "test")}
    assert ", ".join(f"{count} of {name}" for name, count in seen.items() if count) in str(e.value)


def test_a_parent_of_other_classes(folder: Path, trained: Path, tmp_path: Path) -> None:
    path = exported(folder, trained, tmp_path, classes=["0", "1", "cat"])
    with pytest.raises(CheckpointError, match=r"net.safetensors: expected the classes 0, 1, 2, found 0, 1, cat; --ret"):
        trains(folder).load(path)
    path = exported(folder, trained, tmp_path, classes=["1", "0", "2"])
    with pytest.raises(CheckpointError, match=r"found 1, 0, 2; `problem.classes: \[1, 0, 2\]` has them in its order; "):
        trains(folder).load(path)
    trains(folder, problem={"classes": ("1", "0", "2")}).load(path)  # as the message has it


# ---- a user's own


def test_a_user_s_own_network_weights_and_images(folder: Path) -> None:
    task = own(folder)
    parent, card = task.load(folder / "weights.pt")
    assert card == {} and parent.architecture.target == f"{folder / 'model.py'}:build"
    expected = own_classifier.state_dict()
    assert all(torch.equal(parent.weights[name], value) for name, value in expected.items())
    assert parent.perturbed == ("conv.weight", "fc.weight")
    problem = task.problem(parent)
    assert problem.data.classes == own_classifier.CLASSES
    counts = {name: problem.describe(name) for name in ("search", "select", "test")}
    assert counts == {name: {"from": "train", "count": 30} for name in counts}
    assert 0.75 < problem.evaluate(parent.predict, problem.split("test")).score < 1


@pytest.mark.parametrize(
    ("changes", "keys", "says"),
    [
        ({"problem": {"data": "nothing"}}, "problem.data", "which is not there"),
        (
            {"problem": {"normalise": {"mean": (0.5,), "std": (0.5,)}}},
            "problem.normalise.mean",
            "expected 3 numbers, as the images are in colour, found 1; `problem.channels: 1` shows them grey",
        ),
        (
            {"problem": {"splits": {"search": {"from": "train", "count": 2}, "test": {"from": "train", "count": 9}}}},
            "problem.splits.search",
            "expected images of every class, found none of",
        ),
        ({"problem": {"splits": {"test": {"from": "test"}}}}, "problem.splits.test.from", "has no test images"),
        (
            {"problem": {"splits": {name: {"from": "train", "count": 60} for name in ("search", "select", "test")}}},
            "problem.splits",
            "expected at most the 120 images of train in all, found 60 (search)",
        ),
        ({"parent": {"network": "model.py:biuld"}}, "parent.network", 'did you mean "build"?'),
        ({"parent": {"network": "model.py:wrong"}}, "parent.network", "expected a torch.nn.Module, found int"),
        ({"parent": {"arguments": {"depth": 3}}}, "parent.network", "unexpected keyword argument 'depth'"),
        ({"parent": {"arguments": {"classes": 4}}}, "parent.network", "expected (2, 3) logits, images × classes"),
        ({"parent": {"network": "mlp", "arguments": {"features": 4}}}, "parent.network", "does not take images (3, 8,"),
        ({"parent": {"network": "lenet-s"}}, "parent.network", "expected images of 16 × 16 or more, found 8 × 8"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[:10] else "",
)
def test_what_does_not_fit_names_its_key(folder: Path, changes: dict[str, Any], keys: str, says: str) -> None:
    with pytest.raises(EvoensError) as caught:
        own(folder, **changes).untrained()
    assert ".".join(caught.value.keys) == keys, str(caught.value)
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_weights_that_do_not_fit_name_their_key(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"fc\.bias: expected \(3,\), found none") as caught:
        task = own(folder)
        weights = {name: value for name, value in own_classifier.state_dict().items() if name != "fc.bias"}
        torch.save(weights, folder / "half.pt")
        task.load(folder / "half.pt")
    assert caught.value.keys == ("parent", "checkpoint")
