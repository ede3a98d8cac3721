"""One file of an ensemble: it gives what the ensemble predicts for any batch, or it is not written."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import deployed
import pytest
import torch
from deployed import ensemble_of
from safetensors import safe_open
from torch import Tensor

from evoens.errors import EvoensError, SpecError
from evoens.export.file import ABOUT, PACKAGES, require_packages, write_onnx, write_pt2, write_safetensors

FACTS = {"classes": ["a", "ö"], "temperature": 1.5, "order": [0, 1]}
ROOT = Path(__file__).parents[2]


@pytest.fixture
def onnx() -> None:
    for name in PACKAGES:
        pytest.importorskip(name, reason=f"{name} is not installed: pip install 'evoens[export]'")


def onnx_answers(path: Path, inputs: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path))
    return torch.from_numpy(session.run(None, {"inputs": inputs.numpy()})[0])


def pt2_answers(path: Path, inputs: Tensor) -> Tensor:
    with torch.no_grad():
        found: Tensor = torch.export.load(path).module()(inputs)
    return found


def check(name: str, to: str, path: Path, scoped: bool, within: float = 1e-6) -> None:
    ensemble, inputs = ensemble_of(name, scoped=scoped)
    write, answers = {"onnx": (write_onnx, onnx_answers), "pt2": (write_pt2, pt2_answers)}[to]
    expected = ensemble.predict(inputs, calibrated=True)
    assert write(path, ensemble.module(inputs=inputs), inputs, FACTS, expected) < within
    more = torch.cat([inputs, inputs.flip(0), inputs[:1]])  # another batch than it was proved on
    torch.testing.assert_close(
        answers(path, more).double(), ensemble.predict(more, calibrated=True), rtol=0, atol=within
    )


@pytest.mark.parametrize(("name", "scoped"), [("mlp", False), ("lenet", True), ("resnet", True)], ids=str)
def test_pt2(name: str, scoped: bool, tmp_path: Path) -> None:
    check(name, "pt2", tmp_path / "it.pt2", scoped)


@pytest.mark.usefixtures("onnx")
@pytest.mark.parametrize(("name", "scoped"), [("mlp", False), ("lenet", True)], ids=str)
def test_onnx(name: str, scoped: bool, tmp_path: Path) -> None:
    check(name, "onnx", tmp_path / "it.onnx", scoped)


@pytest.mark.slow
@pytest.mark.usefixtures("onnx")
@pytest.mark.parametrize("scoped", [False, True], ids=["all layers", "the last layer"])
@pytest.mark.parametrize("to", ["pt2", "onnx"])
@pytest.mark.parametrize("name", sorted(deployed.NETWORKS))
def test_every_network_in_both_forms(name: str, to: str, scoped: bool, tmp_path: Path) -> None:
    check(name, to, tmp_path / "it", scoped, within=2e-5)


def test_a_pt2_has_its_facts_and_nobodys_paths_and_comes_out_the_same_twice(tmp_path: Path) -> None:
    for file in ("a", "b"):
        check("mlp", "pt2", tmp_path / file, scoped=True)
    extra = {ABOUT: ""}
    torch.export.load(tmp_path / "a", extra_files=extra)
    assert json.loads(extra[ABOUT]) == FACTS
    data = (tmp_path / "a").read_bytes()
    assert str(ROOT).encode() not in data and sys.prefix.encode() not in data
    assert data == (tmp_path / "b").read_bytes()


@pytest.mark.usefixtures("onnx")
def test_an_onnx_has_its_facts_and_nobodys_paths_and_comes_out_the_same_twice(tmp_path: Path) -> None:
    import onnx

    for file in ("a", "b"):
        check("mlp", "onnx", tmp_path / file, scoped=True)
    model = onnx.load(tmp_path / "a")
    onnx.checker.check_model(model)
    assert {one.key: json.loads(one.value) for one in model.metadata_props} == FACTS
    assert {one.version for one in model.opset_import if not one.domain} == {18}
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    data = (tmp_path / "a").read_bytes()
    assert str(ROOT).encode() not in data and sys.prefix.encode() not in data
    assert data == (tmp_path / "b").read_bytes()


def test_what_gives_other_numbers_is_not_written(tmp_path: Path) -> None:
    ensemble, inputs = ensemble_of("mlp")
    wrong = ensemble.predict(inputs, calibrated=True).flip(1)
    with pytest.raises(EvoensError, match=r"expected what the ensemble predicts, found probabilities 0\.\d+ from"):
        write_pt2(tmp_path / "it.pt2", ensemble.module(inputs=inputs), inputs, FACTS, wrong)
    assert not list(tmp_path.iterdir())


class Fixed(torch.nn.Module):
    """Takes batches of four alone."""

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(4, -1).softmax(-1)


def test_a_network_that_cannot_be_exported_says_so(tmp_path: Path) -> None:
    inputs = torch.randn(4, 3)
    with pytest.raises(EvoensError, match=r"^the network cannot be exported by torch\.export"):
        write_pt2(tmp_path / "it.pt2", Fixed(), inputs, FACTS, inputs.softmax(-1))
    assert not list(tmp_path.iterdir())


def test_above_two_gigabytes_another_form_is_named(tmp_path: Path) -> None:
    inputs, huge = torch.zeros(2, 1), torch.nn.Linear(1, 1, device="meta")
    huge.weight = torch.nn.Parameter(torch.empty(2**29, 1, device="meta"))
    with pytest.raises(EvoensError, match=r"found 2\.0 GiB of weights; --to pt2 takes it"):
        write_onnx(tmp_path / "it.onnx", huge, inputs, FACTS, inputs)


def test_safetensors_are_state_dicts_of_the_network_itself(tmp_path: Path) -> None:
    network, inputs = torch.nn.Linear(3, 2), torch.randn(4, 3)
    shared, own = {"bias": torch.tensor([0.5, -0.5])}, [{"weight": torch.randn(2, 3)} for _ in range(2)]
    expected = torch.stack([(inputs @ w["weight"].T + shared["bias"]).softmax(-1) for w in own])
    path = tmp_path / "it.safetensors"
    far = write_safetensors(path, network, shared, own, FACTS, inputs=inputs, expected=expected)
    assert far < 1e-6
    with safe_open(path, "pt") as file:
        assert set(file.keys()) == {"shared.bias", "members.0.weight", "members.1.weight"}
        assert {name: json.loads(text) for name, text in file.metadata().items()} == FACTS
    with pytest.raises(EvoensError, match=r"what was exported does not run: RuntimeError: .*Missing key.*bias"):
        write_safetensors(path, network, {}, own, FACTS, inputs=inputs, expected=expected)


@pytest.mark.parametrize("missing", PACKAGES)
def test_a_missing_package_is_named_with_what_installs_it(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def there(name: str) -> Any:
        return None if name == missing else name

    monkeypatch.setattr("evoens.export.file.find_spec", there)
    with pytest.raises(
        SpecError, match=rf"^onnx: expected the packages {missing}, found none: pip install 'evoens\[ex"
    ):
        require_packages()
