"""Bring your own by command: one YAML, one command; and whatever can be wrong with it is one line before any work."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import own_classifier
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from evoens.cli import app
from evoens.ensemble import load_ensemble
from evoens.evaluation.plan import Plan
from evoens.report import listeners

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return own_classifier.write_own(tmp_path_factory.mktemp("own")).parent


@pytest.fixture
def here(written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's working folder."""
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes long, where a test is about something else."""
    monkeypatch.setattr("evoens.evaluation.evaluator.quickest", lambda *_: Plan())
    monkeypatch.setattr(listeners, "write_report", lambda folder: folder / "report.html")


def call(*args: str) -> Result:
    return CliRunner().invoke(app, args)


# ---- what users get wrong


@dataclass
class Wrong:
    """The change that makes the YAML wrong, what is done to the folder, and what is said, with … for what may vary."""

    says: str
    old: str = ""
    new: str = ""
    make: Callable[[], Any] = lambda: None
    args: tuple[str, ...] = ()
    command: str = "run"


def network(says: str, source: str, name: str = "build") -> Wrong:
    return Wrong(f"own.yaml:11:3: parent.network: {says}", "build", name, lambda: Path("model.py").write_text(source))


def weights(says: str, make: Callable[[], Any], name: str = "weights.pt") -> Wrong:
    return Wrong(f"own.yaml:12:3: parent.checkpoint: {says}", "weights.pt", name, make)


def data(says: str, make: Callable[[], Any], name: str = "images") -> Wrong:
    return Wrong(f"own.yaml:4:3: problem.data: {says}", "images", name, make)


def other_weights() -> None:
    torch.save(torch.nn.Linear(3, 3).state_dict(), "weights.pt")


def save_npz(labels: Any, shape: tuple[int, ...] = (90, 8, 8, 3), dtype: Any = np.uint8) -> None:
    np.savez("set.npz", x=np.zeros(shape, dtype), y=np.asarray(labels))


def few_of_a_class() -> None:
    for path in sorted(Path("images/red").iterdir())[2:]:
        path.unlink()


THREE = np.arange(90) % 3
NET = "from torch import nn\ndef build(classes=3):\n    return "
WRONG = {
    # the network
    "unknown network": Wrong(
        'own.yaml:11:3: parent.network: "resnet18": expected one of lenet-s, lenet-m, lenet-l, resnet-18, resnet-56, '
        "wrn-28-10, mlp, torchvision.models:name, path/to/model.py:name or package.module:Class; "
        'did you mean "resnet-18"?',
        "model.py:build",
        "resnet18",
    ),
    "no such file": Wrong(
        'own.yaml:11:3: parent.network: "net.py:build": expected a Python file, found none at net.py', "model", "net"
    ),
    "no such module": Wrong(
        'parent.network: "nets.small:Net": expected one of lenet-s', "model.py:build", "nets.small:Net"
    ),
    "no such torchvision network": Wrong(
        'own.yaml:11:3: parent.network: "torchvision.models:resnet8" … TypeError: expected a torch.nn.Module class',
        "model.py:build",
        "torchvision.models:resnet8",
    ),
    "file without a name": Wrong(
        'own.yaml:11:3: parent.network: "model.py": expected one of lenet-s', "model.py:build", "model.py"
    ),
    "does not parse": network('"model.py:build": expected Python, found an error at ', "def build(:\n"),
    "imports what is not there": network('"model.py:build": ', "import torchy\ndef build(): ...\n"),
    "does not import": network('" … " does not import: ZeroDivisionError: ', "x = 1 / 0\ndef build(): ...\n"),
    "no such function": network(
        '"model.py:biuld": expected a class or function biuld in ', own_classifier.MODEL, "biuld"
    ),
    "returns no module": network('" … ": expected a torch.nn.Module, found int', own_classifier.MODEL, "wrong"),
    "is no function": network('" … found no such \'number\'', own_classifier.MODEL, "number"),
    "raises": network(
        '" … " cannot be built: ValueError: two lines', "def build():\n    raise ValueError('two\\nlines')\n"
    ),
    "forward raises": network(
        "the parent does not take images (3, 8, 8) (channels, height, width): … mat1 and mat2 shapes",
        NET + "nn.Sequential(nn.Flatten(), nn.Linear(3, 3))\n",
    ),
    "grey images for a colour network of one's own": Wrong(
        "the parent does not take images (1, 8, 8) (channels, height, width): … ; with `problem.channels: 3` it does",
        args=("--set", "problem.channels=1", "--set", "problem.normalise=null"),
    ),
    "other number of classes": network(
        "the parent: expected (2, 3) logits, images × classes, found (2, 10)",
        NET + "nn.Sequential(nn.Flatten(), nn.Linear(192, 10))\n",
    ),
    "probabilities": network(
        "the parent: expected logits, found probabilities",
        NET + "nn.Sequential(nn.Flatten(), nn.Linear(192, 3), nn.Softmax(1))\n",
    ),
    "nothing to perturb": network(
        "the parent: expected linear or convolutional layers, found none to perturb",
        NET + "nn.Sequential(nn.AvgPool2d(8), nn.Flatten())\n",
    ),
    "wrong arguments": Wrong(
        "own.yaml:11:3: parent.network: … got an unexpected keyword argument 'depth'",
        args=("--set", "parent.arguments.depth=3"),
    ),
    "grey images for a colour network": Wrong(
        "own.yaml:11:3: parent.network: torchvision.models:resnet18: expected images of 3 channels, found 1; "
        "`problem.channels: 3` gives them three",
        "model.py:build",
        "torchvision.models:resnet18",
        args=("--set", "problem.channels=1", "--set", "problem.normalise=null"),
    ),
    # the weights
    "weights are not there": Wrong(
        "own.yaml:12:3: parent.checkpoint: expected a file of weights, or a path that ends in .safetensors where a "
        'parent is trained, found weigths.pt, which is not there; did you mean "weights.pt"?',
        "weights.pt",
        "weigths.pt",
    ),
    "wrong ending": weights(
        "expected a file that ends in .safetensors, .pt, .pth, .ckpt, .bin, .pth.tar, found weights.h5",
        lambda: Path("weights.pt").rename("weights.h5"),
        "weights.h5",
    ),
    "weights are a folder": weights("expected a file, found the folder weights.pt", lambda: (
        Path("weights.pt").unlink(), Path("weights.pt").mkdir()
    )),
    "weights of another network": weights("weights.pt: expected the weights of ", other_weights),
    "damaged weights": weights(
        "weights.pt: expected a state dict that torch.save wrote, found a file of another kind",
        lambda: Path("weights.pt").write_bytes(b"weights"),
    ),
    "damaged safetensors": weights(
        "w.safetensors: expected safetensors, found damage (SafetensorError: ",
        lambda: Path("w.safetensors").write_bytes(b"weights"),
        "w.safetensors",
    ),
    "torchvision's weights for another network": weights(
        "expected a file, or a network torchvision.models:…, found torchvision:IMAGENET1K_V1 for model.py:build",
        lambda: None,
        "torchvision:IMAGENET1K_V1",
    ),
    "retrain over a user's file": Wrong(
        "own.yaml:12:3: parent.checkpoint: expected a path that ends in .safetensors where a parent is trained, "
        "found weights.pt",
        args=("--retrain",),
    ),
    "train-parent of a user's file": Wrong(
        "own.yaml:12:3: parent.checkpoint: expected a path that ends in .safetensors", command="train-parent"
    ),
    "train-parent of what cannot be trained": Wrong(
        "own.yaml:11:3: parent.network: the parent: expected (2, 3) logits",
        "weights.pt",
        "new.safetensors",
        lambda: Path("model.py").write_text(own_classifier.MODEL.replace("classes=3", "classes=4")),
        command="train-parent",
    ),
    # the data
    "no such data": data('expected one of digits, spirals, MNIST, ', lambda: None, "imagse"),
    "an empty class": data('images: expected images in every class, found none', lambda: Path("images/yellow").mkdir()),
    "a damaged image": data(
        "images/green/0050.png: expected an image, found what cannot be decoded",
        lambda: Path("images/green/0050.png").write_bytes(b"no image"),
    ),
    "images of several sizes": data(
        "images/green/0050.png: expected 8×8 as the first has, found 9×8",
        lambda: Image.new("RGB", (9, 8)).save("images/green/0050.png"),
    ),
    "labels out of range": data(
        "set.npz: y: expected images of each of 301 classes, found none of",
        lambda: save_npz([*THREE[:-1], 300]),
        "set.npz",
    ),
    "negative labels": data("set.npz: y: expected labels from 0 on", lambda: save_npz(THREE - 1), "set.npz"),
    "labels that are no integers": data(
        "set.npz: y: expected whole numbers, found float64", lambda: save_npz(THREE / 2), "set.npz"
    ),
    "a label without images": data(
        'set.npz: y: expected images of each of 4 classes, found none of "1"',
        lambda: save_npz(np.array([0, 2, 3])[THREE]),
        "set.npz",
    ),
    "as many images as labels": data(
        "set.npz: x: expected 90 images, one a label, found 80", lambda: save_npz(THREE, (80, 8, 8, 3)), "set.npz"
    ),
    "images of another shape": data(
        "set.npz: x: expected shape (n, h, w), (n, h, w, c) or", lambda: save_npz(THREE, (90, 8, 8, 2)), "set.npz"
    ),
    "images that are no bytes": data(
        "set.npz: x: expected bytes (uint8, 0 to 255) or floats from 0 to 1, found float32",
        lambda: save_npz(THREE, dtype=np.float32),
        "set.npz",
    ),
    "a split that asks for too many": Wrong(
        "own.yaml:6:3: problem.splits: expected at most the 120 images of train in all, found 30 (search) + 30 (sel",
        "test: {from: train, count: 30}",
        "test: {from: train, count: 70}",
    ),
    "a split without a class": Wrong(
        "own.yaml:7:5: problem.splits.search: expected images of every class, found none of … give it a larger count",
        "search: {from: train, count: 30}",
        "search: {from: train, count: 2}",
    ),
    "a class with hardly an image": Wrong(
        'own.yaml: … problem.splits. … expected images of every class, found none of "red" (of 82 images 2 are)',
        "search: {from: train, count: 30}",
        "search: {from: train, count: 10}",
        few_of_a_class,
    ),
    "a pool that is not there": Wrong(
        "own.yaml:9:12: problem.splits.test.from: expected a pool that there is: images has no test images",
        "test: {from: train",
        "test: {from: test",
    ),
    "one mean for three channels": Wrong(
        "own.yaml:5:15: problem.normalise.mean: expected 3 numbers, as the images are in colour, found 1",
        "{mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}",
        "{mean: [0.5], std: [0.25]}",
    ),
    "two means": Wrong(
        "own.yaml:5:15: problem.normalise.mean: expected 1 number for grey images, 3 for colour, found 2",
        "{mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}",
        "{mean: [0.5, 0.5], std: [0.25]}",
    ),
    # and the rest
    "racing beyond the images": Wrong(
        "--set search.racing.levels=40: expected at most 30, as problem.splits.search has, found 40",
        args=("--set", "search.racing.levels=40"),
    ),
    "racing over a share": Wrong(
        "expected null: only the data tell how many images problem.splits.search has, found 20",
        "search: {from: train, count: 30}",
        "search: {from: train, count: 0.3}",
        args=("--set", "search.racing.levels=20"),
    ),
    "unknown layer": Wrong(
        'own.yaml:15:3: strategy.scope: expected a layer of the parent, found "cnov"; did you mean "conv"?',
        "sigma: 0.2",
        "scope: cnov",
    ),
    "unknown problem": Wrong(
        'own.yaml:3:3: problem.type: "classify": expected one of procgen, classification, … did you mean "class',
        "type: classification",
        "type: classify",
    ),
    "misspelt key": Wrong(
        'own.yaml:12:3: parent.checkpiont: unknown key; did you mean "checkpoint"?', "checkpoint", "checkpiont"
    ),
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_one_clear_error_with_its_place_exit_code_2_and_nothing_left(here: Path, wrong: Wrong) -> None:
    yaml = Path("own.yaml")
    assert wrong.old in yaml.read_text()
    yaml.write_text(yaml.read_text().replace(wrong.old, wrong.new) if wrong.old else yaml.read_text())
    wrong.make()
    before = sorted(Path().rglob("*"))
    result = call(wrong.command, "own.yaml", *wrong.args)
    assert result.exit_code == 2, result.output + str(result.exception)
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert all(part in result.stderr for part in wrong.says.split(" … ")), result.stderr
    assert result.stdout == ""
    assert [path for path in sorted(Path().rglob("*")) if "__pycache__" not in path.parts] == before


def test_a_fault_of_an_override_is_named_by_it(here: Path) -> None:
    result = call("run", "own.yaml", "--set", "problem.data=imagse", "--set", "parent.network=nte.py:build")
    assert result.exit_code == 2
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == [
        "--set problem.data=imagse",
        "--set parent.network=nte.py:build",
    ]


# ---- what is right


def test_what_would_be_done_without_a_card(here: Path) -> None:
    found = json.loads(call("run", "own.yaml", "--dry-run", "--json").stdout)
    assert found["parent"] == "weights.pt" and set(found["training_epochs"].values()) == {0}
    assert found["splits"] == dict.fromkeys(("search", "select", "test"), "30 of train")
    assert found["evaluations"]["search"] == 5
    sets = ("parent.network=torchvision.models:resnet18", "parent.checkpoint=torchvision:IMAGENET1K_V1")
    own = [word for text in sets for word in ("--set", text)]
    assert json.loads(call("run", "own.yaml", "--dry-run", "--json", *own).stdout)["parent"] == sets[1].split("=")[1]
    trained = call("run", "own.yaml", "--dry-run", "--json", "--set", "parent.checkpoint=new.safetensors")
    assert json.loads(trained.stdout)["training_epochs"]["parent"] == 8
    assert call("validate", "own.yaml").stdout == "own.yaml: ok\n"
    assert not Path("runs").exists()


def test_one_yaml_one_command(here: Path, tmp_path: Path) -> None:
    """A network, its weights and images of the user's own, to an ensemble that is loaded where nothing of it is."""
    result = call("run", "own.yaml")
    assert result.exit_code == 0, result.output
    folder = Path("runs/own")
    report = json.loads((folder / "report.json").read_text())
    assert report["parent"]["test"]["score"] > 0.75 and report["parent"]["test"]["n"] == 30
    assert report["parent_card"] == {} and report["splits"]["test"] == {"from": "train", "count": 30}
    assert report["problem"]["splits"]["test"] == {"from": "train", "count": 30}
    assert {path.name for path in (folder / "ensemble").iterdir()} == {"genomes.json", "model.py", "parent.safetensors"}
    assert "came without a card" in (folder / "report.html").read_text()
    inputs = torch.linspace(-1, 1, 4 * 192).view(4, 3, 8, 8)
    expected = load_ensemble(folder).predict(inputs)
    shutil.move(folder / "ensemble", tmp_path / "elsewhere")
    for path in (Path("model.py"), Path("weights.pt")):
        path.unlink()
    assert torch.equal(load_ensemble(tmp_path / "elsewhere").predict(inputs), expected)
    verified = call("verify", str(tmp_path / "elsewhere"))
    assert verified.exit_code == 0 and "BROKEN" not in verified.stdout


@pytest.mark.usefixtures("quick")
def test_arrays_and_safetensors_do_as_well(here: Path) -> None:
    images, labels = own_classifier.pictures()
    np.savez("set.npz", x=images, y=labels)
    save_file(own_classifier.state_dict(), "weights.safetensors")
    same = [word for text in ("problem.data=images", "parent.checkpoint=weights.pt") for word in ("--set", text)]
    other = [
        word for text in ("problem.data=set.npz", "parent.checkpoint=weights.safetensors") for word in ("--set", text)
    ]
    for name, sets in (("one", same), ("two", other)):
        result = call("run", "own.yaml", "--name", name, "--quiet", *sets)
        assert result.exit_code == 0, result.stderr
        assert result.stdout.splitlines()[1:] == [f"runs/{name}/report.html"]
    one, two = (json.loads(Path(f"runs/{name}/report.json").read_text()) for name in ("one", "two"))
    assert one["ensemble"]["test"] == two["ensemble"]["test"] and one["candidates"] == two["candidates"]


@pytest.mark.usefixtures("quick")
def test_a_network_of_the_user_s_own_is_trained_where_there_are_no_weights(here: Path) -> None:
    sets = ("parent.checkpoint=new.safetensors", "parent.train.epochs=2", "parent.train.batch=10")
    words = [word for text in sets for word in ("--set", text)]
    result = call("train-parent", "own.yaml", *words, "--json")
    assert result.exit_code == 0, result.stderr
    card = json.loads(result.stdout)
    assert card["path"] == "new.safetensors" and card["network"] == "model.py:build" and card["epochs"] == 2
    assert call("run", "own.yaml", "--quiet", *words).exit_code == 0
    assert json.loads(Path("runs/own/report.json").read_text())["parent_card"]["sha256"] == card["sha256"]
    there = call("train-parent", "own.yaml", *words)
    assert there.exit_code == 2 and "new.safetensors: expected no parent yet, found one; --retrain" in there.stderr
    changed = call("run", "own.yaml", "--name", "other", *words, "--set", "problem.split_seed=1")
    assert changed.exit_code == 2 and not Path("runs/other").exists()
    said = "expected a parent that has not learnt on images of search, select and test, found one that has, on "
    assert f"--set parent.checkpoint=new.safetensors: new.safetensors: {said}" in changed.stderr


@pytest.mark.usefixtures("quick")
def test_a_run_goes_on_by_its_name(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert call("run", "own.yaml", "--quiet").exit_code == 0
    genomes = Path("runs/own/ensemble/genomes.json").read_bytes()
    shutil.rmtree("runs/own/ensemble")
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert call("resume", "own", "--runs", "../runs", "--quiet").exit_code == 0
    assert Path("../runs/own/ensemble/genomes.json").read_bytes() == genomes


def test_validate_imports_nothing_heavy(here: Path) -> None:
    code = (
        "import sys\nfrom evoens.cli import app\n"
        "try: app(sys.argv[1:])\nexcept SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'torchvision', 'PIL', 'sklearn', 'numpy'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, "validate", "own.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_validate_data_opens_every_image(here: Path) -> None:
    for number in (3, 50, 90):
        path = next(Path("images").rglob(f"{number:04d}.png"))
        path.write_bytes(path.read_bytes()[:70])
    assert call("validate", "own.yaml").stdout == "own.yaml: ok\n"  # names are all that it looks at
    result = call("validate", "own.yaml", "--data")
    assert result.exit_code == 2 and result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("own.yaml:4:3: problem.data: images/blue/0003.png: expected an image, found what cannot be")
    assert line.endswith("and 2 more that cannot be taken: green/0050.png, red/0090.png")
    for name in ("blue/0003.png", "green/0050.png", "red/0090.png"):
        Path("images", name).unlink()
    Path("images/red/notes.txt").write_text("")
    result = call("validate", "own.yaml", "--data")
    assert result.stdout.splitlines() == [
        "own.yaml: ok",
        "images, train: 117 images 3×8×8 of 3 classes (blue 39, green 39, red 39)",
    ]
    (warning,) = " ".join(result.stderr.split()).split("warning: ")[1:]
    assert warning == "images: counted 117 images of 3 classes; left out: 1 as no image (red/notes.txt)"
    assert json.loads(call("validate", "own.yaml", "--data", "--json").stdout) == {"ok": True, "faults": []}
    assert call("validate", "procgen_bigfish", "--data").stdout == "procgen_bigfish: ok\n"  # no images to open
