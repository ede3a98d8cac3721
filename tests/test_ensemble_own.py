"""An ensemble of a user's own network carries the network's file, and loads wherever its folder is."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import own_classifier
import pytest
import torch
from tiny import tiny_parent
from torch import Tensor

from evoens.children import child_weights
from evoens.contract.verify import folder_checks
from evoens.ensemble import Ensemble, load_ensemble
from evoens.errors import EvoensError, SpecError
from evoens.genome import Genome
from evoens.parent import Architecture, Parent
from evoens.plugins.spec import load_class, locate
from evoens.strategy import Strategy

STRATEGY = """
from evoens.strategy import Strategy


class Shrink(Strategy):
    def perturb(self, name, weight, gene):
        return weight * (1 - gene.scale)
"""
ARGUMENTS = {"sigma": 0.1, "density": 0.5, "parts": 2}
INPUTS = torch.linspace(-1, 1, 5 * 3 * 8 * 8).view(5, 3, 8, 8)


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Tensor]:
    """Save an ensemble to `tmp_path/saved`, throw its files away, and return what it answered."""

    def saved(spec: str = "noisy", network: str = "model.py", text: str = own_classifier.MODEL) -> Tensor:
        home = tmp_path / "home"
        (home / "network").mkdir(parents=True)
        file = home / "network" / network
        file.write_text(text)
        architecture = Architecture(f"{file}:build", {"classes": 3}, hashlib.sha256(file.read_bytes()).hexdigest())
        parent = Parent.from_weights(architecture, own_classifier.state_dict())
        (home / "mine.py").write_text(STRATEGY)
        source = locate(spec, [home, home / "network"])
        strategy: Strategy = load_class(source, Strategy)(**ARGUMENTS)
        ensemble = Ensemble(parent, strategy, strategy.ask(3, Random(0)))
        ensemble.save(tmp_path / "saved", source, ARGUMENTS, {})
        home.rename(tmp_path / "gone")
        return ensemble.predict(INPUTS)

    return saved


def architecture(folder: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((folder / "genomes.json").read_text())["architecture"]
    return found


def test_it_is_loaded_elsewhere_to_the_same_bits(
    save: Callable[..., Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, saved = save(), tmp_path / "saved"
    assert sorted(path.name for path in saved.iterdir()) == ["genomes.json", "model.py", "parent.safetensors"]
    assert architecture(saved)["target"] == "model.py:build"
    assert architecture(saved)["sha256"] == hashlib.sha256((saved / "model.py").read_bytes()).hexdigest()
    there = saved.rename(tmp_path / "gone" / "there")
    monkeypatch.chdir(tmp_path)
    loaded = load_ensemble(Path("gone/there"))
    assert torch.equal(loaded.predict(INPUTS), expected)
    assert all(check.ok for check in folder_checks(there))


def test_it_is_loaded_by_another_process_from_another_folder(save: Callable[..., Tensor], tmp_path: Path) -> None:
    expected = save()
    code = (
        "import sys, torch; from evoens import load_ensemble; torch.set_num_threads(1)\n"
        "inputs = torch.linspace(-1, 1, 5 * 3 * 8 * 8).view(5, 3, 8, 8)\n"
        "print(load_ensemble(sys.argv[1]).predict(inputs).double().tolist())"
    )
    (tmp_path / "empty").mkdir()
    command = [sys.executable, "-c", code, str(tmp_path / "saved")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path / "empty")
    torch.testing.assert_close(torch.tensor(json.loads(done.stdout)).float(), expected)


def test_what_is_loaded_can_be_saved_and_loaded_again(save: Callable[..., Tensor], tmp_path: Path) -> None:
    expected = save()
    loaded = load_ensemble(tmp_path / "saved")
    loaded.save(tmp_path / "again", locate("noisy"), ARGUMENTS, {})
    (tmp_path / "saved").rename(tmp_path / "away")
    assert torch.equal(load_ensemble(tmp_path / "again").predict(INPUTS), expected)
    assert architecture(tmp_path / "again") == architecture(tmp_path / "away")


def test_another_file_is_not_run(save: Callable[..., Tensor], tmp_path: Path) -> None:
    save()
    (tmp_path / "saved" / "model.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n{own_classifier.MODEL}")
    with pytest.raises(SpecError, match=r"model\.py has changed: expected sha256 .*; trust=True \(--trust\)"):
        load_ensemble(tmp_path / "saved")
    assert not (tmp_path / "ran").exists()
    for trust in (False, True):
        assert [check.name for check in folder_checks(tmp_path / "saved", trust) if not check.ok] == ["parent"]
    assert not (tmp_path / "ran").exists()
    load_ensemble(tmp_path / "saved", trust=True)
    assert (tmp_path / "ran").exists()


def test_a_missing_file_is_named(save: Callable[..., Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save()
    (tmp_path / "saved" / "model.py").unlink()
    with pytest.raises(SpecError, match=rf"expected a Python file, found none at {tmp_path}/saved/model\.py"):
        load_ensemble(tmp_path / "saved")


@pytest.mark.parametrize("name", ["../model.py", "/etc/model.py"])
def test_only_a_file_in_the_folder_is_taken(save: Callable[..., Tensor], tmp_path: Path, name: str) -> None:
    save()
    file = tmp_path / "saved" / "genomes.json"
    file.write_text(file.read_text().replace('"model.py:build"', f'"{name}:build"'))
    (tmp_path / "saved" / "model.py").rename(tmp_path / "model.py")
    with pytest.raises(EvoensError, match=rf"{tmp_path}/saved: expected a file of this folder, found {name}"):
        load_ensemble(tmp_path / "saved")


def test_strategy_and_network_of_one_file(save: Callable[..., Tensor], tmp_path: Path) -> None:
    expected = save("model.py:Shrink", text=own_classifier.MODEL + STRATEGY)
    assert sorted(path.name for path in (tmp_path / "saved").glob("*.py")) == ["model.py"]
    assert torch.equal(load_ensemble(tmp_path / "saved").predict(INPUTS), expected)


def test_strategy_and_network_of_two_files_of_one_name(save: Callable[..., Tensor], tmp_path: Path) -> None:
    expected = save("mine.py:Shrink", network="mine.py")
    assert sorted((tmp_path / "saved").rglob("*.py")) == [
        tmp_path / "saved/mine.py",
        tmp_path / "saved/network/mine.py",
    ]
    assert architecture(tmp_path / "saved")["target"] == "network/mine.py:build"
    assert torch.equal(load_ensemble(tmp_path / "saved").predict(INPUTS), expected)


def test_what_was_loaded_is_what_is_saved_whatever_has_become_of_its_file(
    save: Callable[..., Tensor], tmp_path: Path
) -> None:
    expected = save()
    loaded = load_ensemble(tmp_path / "saved")
    (tmp_path / "saved" / "model.py").write_text("raise SystemExit")
    loaded.save(tmp_path / "again", locate("noisy"), ARGUMENTS, {})
    assert torch.equal(load_ensemble(tmp_path / "again").predict(INPUTS), expected)


WITH_HELPER = own_classifier.MODEL.replace(
    "from torch import nn\n", "from torch import nn\nfrom blocks import scale\n", 1
).replace(".mean((2, 3)))", ".mean((2, 3))) * scale()")
HELPER = "def scale():\n    from more.deep import two\n    return {}two()\n"


def with_helpers(tmp_path: Path, sign: str) -> Path:
    """Save an ensemble of a network with helpers, throw its files away, and return its folder."""
    home = tmp_path / f"home{sign}"
    (home / "more").mkdir(parents=True)
    (home / "model.py").write_text(WITH_HELPER)
    (home / "blocks.py").write_text(HELPER.format(sign))
    (home / "more" / "deep.py").write_text("def two():\n    return 2\n")
    found = locate("model.py:build", [home])
    assert found.code is not None
    parent = Parent.from_weights(Architecture.of(found.code, "build", {"classes": 3}), own_classifier.state_dict())
    strategy: Strategy = load_class(locate("noisy"), Strategy)(**ARGUMENTS)
    Ensemble(parent, strategy, [Genome()]).save(tmp_path / f"saved{sign}", locate("noisy"), ARGUMENTS, {})
    shutil.rmtree(home)
    return tmp_path / f"saved{sign}"


def test_helpers_go_along_and_those_of_one_name_never_mix(tmp_path: Path) -> None:
    one, other = with_helpers(tmp_path, "+"), with_helpers(tmp_path, "-")
    assert sorted(path.relative_to(one).as_posix() for path in one.rglob("*.py")) == [
        "blocks.py",
        "model.py",
        "more/deep.py",
    ]
    network: dict[str, Any] = {}
    exec(own_classifier.MODEL, network)
    plain = network["build"](3)
    plain.load_state_dict(own_classifier.state_dict())
    logits = plain.eval()(INPUTS)
    modules = {
        sign: load_ensemble(folder).parent.module for sign, folder in (("+", one), ("-", other), ("again +", one))
    }
    torch.testing.assert_close(modules["+"](INPUTS), 2 * logits)
    torch.testing.assert_close(modules["-"](INPUTS), -2 * logits)
    torch.testing.assert_close(modules["again +"](INPUTS), 2 * logits)
    assert not {"blocks", "more"} & set(sys.modules)


@pytest.mark.parametrize("name", ["blocks.py", "more/deep.py"])
def test_a_helper_that_has_changed_or_is_gone_is_named(tmp_path: Path, name: str) -> None:
    saved = with_helpers(tmp_path, "+")
    file = saved / name
    data = file.read_bytes()
    file.write_bytes(data.replace(b"\n", b"\r\n"))  # as git writes it on Windows
    load_ensemble(saved)
    file.write_bytes(data + b"import os\n")
    with pytest.raises(SpecError, match=rf"{name} has changed: .*; trust=True \(--trust\)"):
        load_ensemble(saved)
    assert load_ensemble(saved, trust=True)
    file.unlink()
    with pytest.raises(SpecError, match=re.escape(f"found none at {file}")):
        load_ensemble(saved)


def test_a_strategy_may_read_its_parent_and_its_scope(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from evoens.strategy import Strategy\nfrom half import HALF\n\n\nclass Mine(Strategy):\n"
        "    def perturb(self, name, weight, gene):\n"
        "        assert self.scope == ('last',)\n"
        "        return weight + HALF * self.parent.weights[name]\n"
    )
    (tmp_path / "half.py").write_text("HALF = 0.5\n")
    source, parent = locate("mine.py:Mine", [tmp_path]), tiny_parent()
    strategy: Strategy = load_class(source, Strategy)(sigma=0.25)
    strategy = strategy.within(parent=parent, scope=("last",))
    Ensemble(parent, strategy, strategy.ask(1, Random(0))).save(tmp_path / "e", source, {"sigma": 0.25}, {})
    (tmp_path / "half.py").unlink()
    loaded = load_ensemble(tmp_path / "e", trust=True)
    weights = child_weights(loaded.parent, loaded.strategy, loaded.genomes[0])
    assert torch.equal(weights["last.weight"], parent.weights["last.weight"] * 1.5)
    assert all(check.ok for check in folder_checks(tmp_path / "e", trust=True))
