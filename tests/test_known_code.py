"""An ensemble's folder runs nothing but evoens, torchvision's networks and its own files, and disturbs nobody."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch

from evoens.contract.verify import folder_checks
from evoens.ensemble import Ensemble, description_sha256, load_ensemble
from evoens.errors import EvoensError, ShapeError, SpecError
from evoens.parent import Architecture, Parent
from evoens.plugins.spec import load_class, locate
from evoens.strategy import Strategy
from evoens.tasks.networks.mlp import MLP

ARGUMENTS = {"sigma": 0.1, "density": 0.5, "parts": 2}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """An ensemble of a network and a Strategy of evoens's; beside it a package that says when it is imported."""
    arguments = {"classes": 3, "features": 12}
    weights = {name: torch.full_like(value, 0.25) for name, value in MLP(**arguments).state_dict().items()}
    parent = Parent.from_weights(Architecture("evoens.tasks.networks.mlp:MLP", arguments), weights)
    strategy: Strategy = load_class(locate("noisy"), Strategy)(**ARGUMENTS)
    ensemble = Ensemble(parent, strategy, strategy.ask(2, Random(0)))
    ensemble.save(tmp_path / "saved", locate("noisy"), ARGUMENTS, {})
    (tmp_path / "canary").mkdir()
    (tmp_path / "canary" / "__init__.py").write_text("from pathlib import Path\nPath('ran').touch()\n")
    (tmp_path / "canary" / "sub.py").write_text("from evoens_strategies.noisy import Noisy\n")
    return tmp_path / "saved"


def change(saved: Path, section: str, **values: Any) -> None:
    path = saved / "genomes.json"
    document = json.loads(path.read_text())
    document[section] |= values
    document["sha256"] = description_sha256(document)
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("architecture", {"target": "canary.sub:Noisy"}),
        ("architecture", {"target": "canary:x"}),
        ("architecture", {"target": "evoens.tasks.networks.mlp.canary:x"}),
        ("architecture", {"target": "../canary/__init__.py:x", "sha256": "0" * 64}),
        ("strategy", {"spec": "canary.sub:Noisy"}),
        ("strategy", {"spec": "canary.sub.more:Noisy"}),
    ],
)
def test_no_package_is_imported(
    saved: Path, section: str, values: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(saved.parent)
    monkeypatch.syspath_prepend(str(saved.parent))
    change(saved, section, **values)
    with pytest.raises(EvoensError, match=r"trust=True \(--trust\)|of this folder"):
        load_ensemble(saved)
    folder_checks(saved)
    assert not Path("ran").exists() and "canary" not in sys.modules


def test_a_description_that_leaves_a_part_out_has_nothing_run(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent)
    monkeypatch.syspath_prepend(str(saved.parent))
    change(saved, "strategy", spec="canary.sub:Noisy", sha256=locate("canary.sub:Noisy").sha256)
    document = json.loads((saved / "genomes.json").read_text())
    del document["architecture"]
    (saved / "genomes.json").write_text(json.dumps(document))
    assert [check.name for check in folder_checks(saved) if not check.ok] == ["genomes.json", "parent"]
    assert not Path("ran").exists() and "canary" not in sys.modules


def test_a_package_is_imported_by_who_trusts_it(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent)
    monkeypatch.syspath_prepend(str(saved.parent))
    change(saved, "strategy", spec="canary.sub:Noisy", sha256=locate("canary.sub:Noisy").sha256)
    told = [check for check in folder_checks(saved) if "--trust" in check.detail]
    assert [check.name for check in told] == ["parent", "member 0", "member 1"]
    assert all(check.ok and "canary.sub:Noisy" in check.detail for check in told) and not Path("ran").exists()
    assert all(check.ok for check in folder_checks(saved, trust=True)) and Path("ran").exists()
    assert len(load_ensemble(saved, trust=True).genomes) == 2
    monkeypatch.delitem(sys.modules, "canary.sub")
    monkeypatch.delitem(sys.modules, "canary")


@pytest.mark.parametrize(
    ("section", "values"),
    [
        ("strategy", {"spec": "x" * 5000}),
        ("strategy", {"helpers": {"x" * 5000: "0"}}),
        ("strategy", {"spec": "noisy", "arguments": {"x" * 5000: 1}}),
        ("strategy", {"spec": "a\x1b[31mb.py:x"}),
        ("architecture", {"target": "x" * 5000 + ".py:x"}),
        ("architecture", {"target": "\x1b[2J:x"}),
        ("parent", {"fingerprint": "\x1b" * 5000}),
    ],
    ids=lambda value: str(value)[:20],
)
def test_no_text_of_a_file_is_shown_raw_or_at_length(saved: Path, section: str, values: dict[str, Any]) -> None:
    change(saved, section, **values)
    with pytest.raises(EvoensError) as caught:
        load_ensemble(saved)
    said = [str(caught.value), *(check.detail for check in folder_checks(saved, trust=True) if not check.ok)]
    assert len(said) > 1 and max(map(len, said)) < 2100 and "\x1b" not in "".join(said)


@pytest.mark.parametrize(
    ("target", "arguments"),
    [
        ("evoens.tasks.networks.mlp:MLP", {"classes": 3, "features": 10**11}),
        ("evoens.tasks.networks.wrn:WideResNet", {"classes": 3, "channels": 3, "depth": 6 * 10**8 + 4, "width": 1}),
        ("torchvision.models:resnet18", {"num_classes": 10**12}),
    ],
)
def test_a_huge_network_is_refused_before_it_takes_memory(saved: Path, target: str, arguments: dict[str, Any]) -> None:
    change(saved, "architecture", target=target, arguments=arguments)
    with pytest.raises(ShapeError):  # and no error of whoever has no memory left
        load_ensemble(saved)


@pytest.mark.parametrize("arguments", [{"weights": "DEFAULT"}, {"pretrained": True}, {"pretrained_backbone": True}])
def test_no_weights_are_downloaded(saved: Path, arguments: dict[str, Any]) -> None:
    change(saved, "architecture", target="torchvision.models:resnet18", arguments=arguments)
    with pytest.raises(SpecError, match="resnet18 would download weights"):
        load_ensemble(saved)


def test_loading_disturbs_nothing_and_nothing_disturbs_loading(saved: Path) -> None:
    inputs = torch.linspace(-1, 1, 24).view(2, 12)
    expected = load_ensemble(saved).predict(inputs)
    torch.manual_seed(3)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        loaded = load_ensemble(saved)
        assert (torch.get_default_dtype(), torch.get_default_device().type) == (torch.float64, "meta")
        found = loaded.predict(inputs)
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (np.random.get_state()[1].tolist(), random.getstate())  # noqa: NPY002
    assert torch.equal(found, expected)
