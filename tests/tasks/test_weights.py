"""Weights in whatever file they come: taken as they are meant, or refused with a reason; no code in them is run."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from evoens.errors import CheckpointError
from evoens.parent import Architecture, Parent
from evoens.tasks.networks.catalogue import architecture
from evoens.tasks.networks.resnet import ResNet
from evoens.tasks.weights import read_weights

OWN = Architecture(
    "evoens.tasks.networks.resnet:ResNet", {"classes": 3, "channels": 1, "blocks": [1], "width": 4}
)  # fmt: skip
DOWNLOAD = "torchvision.models._api.load_state_dict_from_url"
Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def weights() -> Weights:
    torch.manual_seed(0)
    return {name: value.clone() for name, value in OWN.build().state_dict().items()}


def assert_read(path: Path, weights: Weights) -> dict[str, Any]:
    found, card = read_weights(path, OWN)
    assert found.keys() == weights.keys() and all(torch.equal(found[name], weights[name]) for name in weights)
    Parent.from_weights(OWN, found)
    return card


def refused(path: Path, own: Architecture = OWN) -> str:
    """The one line with which the file is refused."""
    with pytest.raises(CheckpointError) as caught:
        read_weights(path, own)
    (line,) = str(caught.value).splitlines()
    assert line.startswith(str(path))
    return line.removeprefix(f"{path}: ")


# ---- what is taken


def test_safetensors_with_a_card_and_without(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file(weights, path)
    assert assert_read(path, weights) == {}
    data = path.read_bytes()
    card = {"architecture": {}, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest(), "seed": 7}
    path.with_suffix(".json").write_text(json.dumps(card))
    assert assert_read(path, weights) == card
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert "as its card says, found" in refused(path)


def compiled(weights: Weights) -> dict[str, Any]:
    return {f"_orig_mod.{name}": value for name, value in weights.items()}


FORMS: dict[str, Callable[[Weights], Any]] = {
    "plain": lambda w: w,
    "state_dict": lambda w: {"state_dict": w, "epoch": 7, "best": 0.9},
    "model": lambda w: {"epoch": 7, "model": w},
    "model_state_dict": lambda w: {"model_state_dict": w, "optimizer": {"lr": 0.1}},
    "net": lambda w: {"net": w, "acc": 93.1},
    "DataParallel": lambda w: {"state_dict": {f"module.{name}": value for name, value in w.items()}},
    "compiled": compiled,
    "compiled in DataParallel": lambda w: {f"module.{name}": value for name, value in compiled(w).items()},
    "of NumPy arrays": lambda w: {"params": {name: value.numpy() for name, value in w.items()}},
    "without counts of batches": lambda w: {k: v for k, v in w.items() if not k.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("ending", [".pt", ".pth"])
def test_state_dicts_as_people_save_them(weights: Weights, tmp_path: Path, form: str, ending: str) -> None:
    path = tmp_path / f"net{ending}"
    torch.save(FORMS[form](weights), path)
    assert assert_read(path, weights) == {}


def test_safetensors_without_counts_of_batches(weights: Weights, tmp_path: Path) -> None:
    save_file(FORMS["without counts of batches"](weights), tmp_path / "net.safetensors")
    assert_read(tmp_path / "net.safetensors", weights)


def test_one_prefixed_name_is_no_prefix(weights: Weights, tmp_path: Path) -> None:
    torch.save({**weights, "module.extra": torch.zeros(1)}, tmp_path / "net.pt")
    assert "module.extra: expected none, found (1,)" in refused(tmp_path / "net.pt")


def test_which_of_several_weights_are_taken_is_said_and_can_be_chosen(weights: Weights, tmp_path: Path) -> None:
    path, mean = tmp_path / "net.pt", {name: value + 1 for name, value in weights.items()}
    averaged = {"n_averaged": torch.tensor(3), **{f"module.{name}": value for name, value in mean.items()}}
    torch.save({"model_ema": averaged, "model": weights}, path)
    with pytest.warns(UserWarning, match=r"under model; parent\.weights would take those under model_ema"):
        assert assert_read(path, weights) == {"taken": "model", "averaged": False, "beside": ["model_ema.module"]}
    with pytest.warns(UserWarning, match="took the averaged weights under model_ema"):
        found, card = read_weights(path, OWN, "model_ema")
    assert torch.equal(found["fc.weight"], mean["fc.weight"]) and card["averaged"]
    with pytest.raises(
        CheckpointError, match=r"expected one of model, model_ema\.module, as .* has, found ema"
    ) as caught:
        read_weights(path, OWN, "ema")
    assert caught.value.keys == ("parent", "weights")


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)
        self.b.weight = self.a.weight


def test_the_second_of_two_names_is_enough(tmp_path: Path) -> None:
    own = {name: value.clone() for name, value in Tied().state_dict().items()}
    save_file({name: value for name, value in own.items() if name != "a.weight"}, tmp_path / "net.safetensors")
    found, _ = read_weights(tmp_path / "net.safetensors", Architecture(f"{__name__}:Tied"))
    assert found.keys() == own.keys() and all(torch.equal(found[name], own[name]) for name in own)


# ---- what is refused


def test_other_shapes_and_names_are_listed(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "net.pt"
    torch.save({**weights, "fc.weight": torch.zeros(10, 4)}, path)
    assert refused(path) == (
        "expected the weights of evoens.tasks.networks.resnet:ResNet, found others: "
        "fc.weight: expected (3, 4), found (10, 4)"
    )
    some = {name: value for name, value in weights.items() if name != "fc.bias"}
    torch.save({**some, "head.bias": torch.zeros(3)}, path)
    assert refused(path).endswith("fc.bias: expected (3,), found none; head.bias: expected none, found (3,)")
    torch.save(nn.Linear(2, 2).state_dict(), path)
    missing = [name for name in weights if not name.endswith("num_batches_tracked")]
    assert refused(path).endswith(f"; and {len(missing) + 2 - 4} more")
    torch.save({}, path)
    assert refused(path) == "expected a state dict, tensors by name, found keys none"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"epoch": 3, "history": [1, 2]}, "expected a state dict, tensors by name, found keys epoch, history"),
        ([torch.zeros(2)], "expected a state dict, tensors by name, found list"),
        (torch.zeros(2), "expected a state dict, tensors by name, found Tensor"),
    ],
)
def test_what_is_no_state_dict(content: Any, says: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "net.pt")
    assert refused(tmp_path / "net.pt") == says


class Trap:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(weights: Weights, tmp_path: Path) -> None:
    for content in (Trap(tmp_path / "ran"), {**weights, "more": Trap(tmp_path / "ran")}):
        torch.save(content, tmp_path / "net.pt")
        assert "wrote, found an object of getattr in it, which only running code" in refused(tmp_path / "net.pt")
        assert not (tmp_path / "ran").exists()


def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(ResNet(3, 1, [1], 4), tmp_path / "net.pt")
    assert "expected a state dict that torch.save wrote" in refused(tmp_path / "net.pt")


@pytest.mark.parametrize(("name", "says"), [("net.safetensors", "expected safetensors"), ("net.pth", "torch.save")])
def test_damage_and_what_is_not_there(weights: Weights, tmp_path: Path, name: str, says: str) -> None:
    path = tmp_path / name
    assert refused(path) == "expected a file of weights, found none"
    path.write_bytes(b"no weights at all")
    assert says in refused(path)
    if name.endswith(".pth"):
        torch.save(weights, path)
        path.write_bytes(path.read_bytes()[:-200])
        assert says in refused(path)


# ---- torchvision's


@pytest.fixture
def squeezenet() -> Architecture:
    return architecture("torchvision.models:squeezenet1_1", 1000, (3, 32, 32))


def test_names_and_shapes_take_no_memory(squeezenet: Architecture) -> None:
    whole = squeezenet.build().state_dict()
    outline = squeezenet.outline().state_dict()
    assert all(value.is_meta for value in outline.values())
    assert {name: value.shape for name, value in outline.items()} == {k: v.shape for k, v in whole.items()}


def test_torchvisions_own(squeezenet: Architecture, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = squeezenet.build().state_dict()
    asked: list[str] = []
    monkeypatch.setattr(DOWNLOAD, lambda url, **_: (asked.append(url), expected)[1])
    found, card = read_weights(Path("torchvision:IMAGENET1K_V1"), squeezenet)
    assert card == {} and found.keys() == expected.keys() and len(asked) == 1
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_torchvisions_older_files_are_taken_as_torchvision_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """DenseNet's have other names than its tensors, and none has counts of batches."""
    own = architecture("torchvision.models:densenet121", 1000, (3, 32, 32))
    expected = own.build().state_dict()
    old = {
        name.replace("norm1", "norm.1").replace("conv2", "conv.2"): value
        for name, value in expected.items()
        if not name.endswith("num_batches_tracked")
    }
    monkeypatch.setattr(DOWNLOAD, lambda url, **_: dict(old))
    found, _ = read_weights(Path("torchvision:IMAGENET1K_V1"), own)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


@pytest.mark.parametrize("error", [URLError("no route to host"), RuntimeError('invalid hash value (expected "b8a5")')])
def test_a_missing_download_says_what_to_put_where(
    squeezenet: Architecture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    def fail(url: str, **_: Any) -> None:
        raise error

    monkeypatch.setattr(DOWNLOAD, fail)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    said = refused(Path("torchvision:IMAGENET1K_V1"), squeezenet)
    assert said == (
        f"could not be downloaded ({error}); put squeezenet1_1-b8a52dc0.pth into {tmp_path}/checkpoints by hand"
    )


def test_something_else_under_the_name_of_a_download_is_said_without_torchs_advice(
    squeezenet: Architecture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "squeezenet1_1-b8a52dc0.pth").write_bytes(b"<html>not found</html>")
    said = refused(Path("torchvision:IMAGENET1K_V1"), squeezenet)
    assert said.startswith("could not be downloaded (no file of weights); put squeezenet1_1-b8a52dc0.pth into ")


def test_names_and_classes_that_torchvision_does_not_have(
    squeezenet: Architecture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(DOWNLOAD)
    said = refused(Path("torchvision:IMAGENET1K_V9"), squeezenet)
    assert said == "expected one of IMAGENET1K_V1, DEFAULT, as squeezenet1_1 has, found IMAGENET1K_V9"
    own = architecture("torchvision.models:squeezenet1_1", 10, (3, 32, 32))
    said = refused(Path("torchvision:IMAGENET1K_V1"), own)
    assert said.startswith("expected weights that fit squeezenet1_1: ") and "num_classes" in said and "10" in said
