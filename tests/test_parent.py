"""The parent: its fingerprint, which tensors are perturbed, loading, and children that leave it alone."""

import hashlib
import shutil
import sys
import types
from pathlib import Path

import pytest
import torch
import torch.hub
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from evoens.errors import ShapeError, SpecError
from evoens.parent import Architecture, Parent, fingerprint
from evoens.tasks.networks import mlp

LINEAR = Architecture("torch.nn:Linear", {"in_features": 4, "out_features": 3})


def small() -> Parent:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Sequential(nn.Flatten(), nn.Linear(12, 5)), nn.LayerNorm(5)
    )
    return Parent(module, Architecture("torch.nn:Sequential"))


def tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {"a": torch.randn(3, 4, generator=generator), "b": torch.randn(5, generator=generator), "n": torch.tensor(7)}


def test_weights_of_convolutions_and_linear_layers_are_perturbed_and_no_others() -> None:
    assert small().perturbed == ("0.weight", "3.1.weight")
    assert Parent(nn.Linear(2, 2), LINEAR).perturbed == ("weight",)
    shared = nn.Linear(2, 2)
    assert Parent(nn.Sequential(shared, nn.ReLU(), shared), LINEAR).perturbed == ("0.weight",)


def test_parent_is_set_to_inference() -> None:
    parent = small()
    assert not parent.module.training
    assert not any(p.requires_grad for p in parent.module.parameters())


# ---- fingerprint


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["a", "b"]), st.integers(0, 10**6), st.integers(0, 31))
def test_any_bit_changes_the_fingerprint(name: str, place: int, bit: int) -> None:
    weights = tensors()
    before = fingerprint(weights)
    raw = weights[name].view(torch.int32).flatten()
    flip = -(2**31) if bit == 31 else 1 << bit
    raw[place % len(raw)] ^= flip
    assert fingerprint(weights) != before
    raw[place % len(raw)] ^= flip
    assert fingerprint(weights) == before


def test_any_name_shape_or_dtype_changes_the_fingerprint() -> None:
    plain = tensors()
    others = {
        "name": {**{k: v for k, v in plain.items() if k != "a"}, "A": plain["a"]},
        "swapped names": {"a": plain["b"], "b": plain["a"], "n": plain["n"]},
        "shape": {**plain, "a": plain["a"].reshape(4, 3)},
        "flat": {**plain, "a": plain["a"].flatten()},
        "dtype of equal bytes": {**plain, "b": plain["b"].view(torch.int32)},
        "dtype": {**plain, "n": torch.tensor(7, dtype=torch.int32)},
        "scalar": {**plain, "n": torch.tensor(8)},
        "negative zero": {**plain, "b": torch.full((5,), -0.0)},
        "zero": {**plain, "b": torch.zeros(5)},
        "missing": {k: v for k, v in plain.items() if k != "b"},
        "more": {**plain, "c": torch.zeros(0)},
    }
    assert len({fingerprint(w) for w in [plain, *others.values()]}) == len(others) + 1


def test_order_layout_and_storage_do_not_change_the_fingerprint() -> None:
    plain = {"x": torch.arange(120, dtype=torch.float32).reshape(2, 3, 4, 5), "a": torch.ones(3)}
    other = {"a": torch.ones(6)[::2], "x": plain["x"].to(memory_format=torch.channels_last)}
    assert fingerprint(other) == fingerprint(plain)


def test_one_by_one_kernels_may_lie_as_they_like() -> None:
    """Torch calls them contiguous, whose last numbers are no neighbours in memory."""
    plain = torch.arange(12.0).view(3, 4, 1, 1)
    last = torch.empty_like(plain, memory_format=torch.channels_last).copy_(plain)
    assert last.is_contiguous() and fingerprint({"a": last}) == fingerprint({"a": plain})


def test_bfloat16_and_empty_tensors_have_fingerprints() -> None:
    weights = {"h": torch.ones(3, dtype=torch.bfloat16), "e": torch.zeros(0, 3)}
    assert fingerprint(weights) != fingerprint({**weights, "e": torch.zeros(3, 0)})


def test_fingerprint_is_published() -> None:
    """Worked with `printf 'w|torch.float32|(2,)|\\0\\0\\200\\77\\0\\0\\0\\300' | sha256sum`."""
    assert (
        fingerprint({"w": torch.tensor([1.0, -2.0])})
        == "de194eee82d3130e7a1a823fde8d32d6847e1db44d9235fa6d0a94ca61c73be7"
    )


def test_fingerprint_covers_buffers() -> None:
    parent = small()
    before = parent.fingerprint
    parent.module[1].running_mean += 1
    assert parent.fingerprint != before


# ---- building and loading


def test_from_weights_gives_the_same_bits_through_a_file(tmp_path: Path) -> None:
    parent = Parent(nn.Linear(4, 3), LINEAR)
    save_file(parent.weights, tmp_path / "parent.safetensors")
    again = Parent.from_weights(LINEAR, load_file(tmp_path / "parent.safetensors"))
    assert again.fingerprint == parent.fingerprint
    inputs = torch.linspace(-1, 1, 8).reshape(2, 4)
    assert torch.equal(again.predict(inputs), parent.predict(inputs))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({"weight": torch.zeros(3, 4)}, r"bias: expected shape \(3,\), found no such tensor"),
        (
            {"weight": torch.zeros(3, 4), "bias": torch.zeros(3), "scale": torch.zeros(1)},
            r"scale: expected shape no such tensor, found \(1,\)",
        ),
        ({"weight": torch.zeros(4, 3), "bias": torch.zeros(3)}, r"weight: expected shape \(3, 4\), found \(4, 3\)"),
        ({"weight": torch.zeros(3, 4), "bias": torch.zeros(1)}, r"bias: expected shape \(3,\), found \(1,\)"),
        ({}, "bias: expected shape"),
    ],
)
def test_weights_that_do_not_fit_are_refused(weights: dict[str, Tensor], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        Parent.from_weights(LINEAR, weights)


@pytest.mark.parametrize(
    ("target", "arguments", "message"),
    [
        ("no_such_package:Net", {}, "no_such_package"),
        ("torch.nn:NoSuchLayer", {}, "NoSuchLayer"),
        ("torch.nn", {}, "cannot be built"),
        ("", {}, "cannot be built"),
        ("torch.nn:Linear", {"in_features": 4}, "out_features"),
        ("torch.nn:Linear", {"in_features": -4, "out_features": 2}, "cannot be built"),
        ("torch:Tensor", {}, r"expected a torch\.nn\.Module class"),
        ("torch.nn:functional", {}, r"expected a torch\.nn\.Module class"),
    ],
)
def test_an_architecture_that_cannot_be_built_says_why(target: str, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Architecture(target, arguments).build()


def test_an_architecture_calls_nothing_but_a_module_class(tmp_path: Path) -> None:
    """The name comes from a file that anyone may have written."""
    with pytest.raises(SpecError, match=r"expected a torch\.nn\.Module class"):
        Architecture("os:makedirs", {"name": str(tmp_path / "made")}).build()
    assert not (tmp_path / "made").exists()


FILE = """
import os, shutil
from os import makedirs
from shutil import copyfile
from torch import nn
def build(outputs=2):
    return nn.Linear(4, outputs)
def number():
    return 3
def broken():
    return {}["no such key"]
Layer = nn.Linear
"""


def own_file(folder: Path, text: str = FILE) -> tuple[str, str]:
    """Write a user's file; return its path and its sha256."""
    path = folder / "own.py"
    path.write_text(text)
    return str(path), hashlib.sha256(path.read_bytes()).hexdigest()


def test_functions_of_torchvision_and_of_a_file_build_too(tmp_path: Path) -> None:
    path, sha256 = own_file(tmp_path)
    with torch.device("meta"):
        assert Architecture("torchvision.models:resnet18", {"num_classes": 7}).build().fc.out_features == 7
    assert Architecture(f"{path}:build", {"outputs": 3}, sha256).build().out_features == 3
    assert Architecture(f"{path}:Layer", {"in_features": 2, "out_features": 5}, sha256).build().out_features == 5


def test_a_file_that_has_moved_is_looked_for_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, sha256 = own_file(tmp_path)
    monkeypatch.chdir(tmp_path)
    for target in (path, "own.py", "/no/such/folder/own.py"):
        assert isinstance(Architecture(f"{target}:build", {}, sha256).build(), nn.Linear)
    with pytest.raises(SpecError, match=r"found none at /no/such/folder/other\.py, other\.py"):
        Architecture("/no/such/folder/other.py:build", {}, sha256).build()


def test_a_file_is_the_one_that_was_recorded_or_is_not_run(tmp_path: Path) -> None:
    path, sha256 = own_file(tmp_path, "raise SystemExit('imported')")
    with pytest.raises(SpecError, match=r"expected the sha256 of the file beside its name, found a file with"):
        Architecture(f"{path}:build").build()
    with pytest.raises(SpecError, match=rf"expected sha256 {'0' * 16}…, found a file with {sha256[:16]}…"):
        Architecture(f"{path}:build", {}, "0" * 64).build()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("biuld", 'expected a torch.nn.Module class.* found no such .biuld.; did you mean "build"'),
        ("makedirs", "found no such 'makedirs'"),
        ("copyfile", "found no such 'copyfile'"),
        ("os", "found no such 'os'"),
        ("number", "expected a torch.nn.Module, found int"),
        ("broken", "cannot be built: KeyError: 'no such key'"),
    ],
)
def test_only_a_files_own_functions_are_called(name: str, message: str, tmp_path: Path) -> None:
    path, sha256 = own_file(tmp_path)
    with pytest.raises(SpecError, match=message):
        Architecture(f"{path}:{name}", {}, sha256).build()


@pytest.mark.parametrize("file", [shutil.__file__, torch.hub.__file__])
def test_files_of_installed_packages_are_no_users_files(file: str) -> None:
    """Anyone knows their hashes."""
    sha256 = hashlib.sha256(Path(file).read_bytes()).hexdigest()
    with pytest.raises(SpecError, match="expected a file of your own, found one of an installed package"):
        Architecture(f"{file}:copyfile", {"src": "a", "dst": "b"}, sha256).build()


def test_a_package_may_give_its_classes_when_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("late")
    package.__getattr__ = {"Layer": nn.Identity}.get  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "late", package)
    assert isinstance(Architecture("late:Layer").build(), nn.Identity)


def test_the_file_of_a_module_is_checked_where_its_hash_was_recorded() -> None:
    target, arguments = "evoens.tasks.networks.mlp:MLP", {"classes": 2, "features": 3}
    sha256 = hashlib.sha256(Path(mlp.__file__).read_bytes()).hexdigest()
    assert isinstance(Architecture(target, arguments, sha256).build(), mlp.MLP)
    with pytest.raises(SpecError, match="expected sha256 000"):
        Architecture(target, arguments, "0" * 64).build()


# ---- predicting, and children


def test_predictions_are_probabilities_in_float32() -> None:
    parent = small()
    inputs = torch.linspace(-2, 2, 3 * 2 * 4 * 4).reshape(3, 2, 4, 4)
    found = parent.predict(inputs)
    logits = parent.module(inputs).double()
    expected = logits.exp() / logits.exp().sum(-1, keepdim=True)
    torch.testing.assert_close(found.double(), expected, rtol=1e-5, atol=1e-7)
    assert found.dtype == torch.float32


def test_a_child_without_changes_is_the_parent_and_with_changes_leaves_it_alone() -> None:
    parent = small()
    before, inputs = parent.fingerprint, torch.ones(2, 2, 4, 4)
    expected = parent.predict(inputs)
    assert torch.equal(parent.child({}).predict(inputs), expected)
    child = parent.child({"0.weight": torch.zeros(3, 2, 3, 3)})
    assert not torch.equal(child.predict(inputs), expected)
    assert parent.fingerprint == before
    assert torch.equal(parent.predict(inputs), expected)


def test_a_child_takes_one_childs_weights_after_anothers() -> None:
    parent = small()
    one, two = ({"0.weight": torch.full((3, 2, 3, 3), value)} for value in (0.1, -0.2))
    child = parent.child(one)
    child.load(two)
    inputs = torch.ones(1, 2, 4, 4)
    assert torch.equal(child.predict(inputs), parent.child(two).predict(inputs))


def test_loading_keeps_the_childs_layout_and_dtype() -> None:
    parent = small()
    child = parent.child({})
    child.module.to(memory_format=torch.channels_last)
    child = type(child)(child.module)
    child.load({"0.weight": torch.ones(3, 2, 3, 3)})
    weight = child.module[0].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(weight, torch.ones(3, 2, 3, 3))


def test_a_child_refuses_a_tensor_it_does_not_have() -> None:
    with pytest.raises(KeyError, match=r"9\.weight"):
        small().child({"9.weight": torch.zeros(1)})
