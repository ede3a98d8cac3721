"""An ensemble of a user's own network carries the network's file, and loads wherever its folder is."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import own_classifier
import pytest
import torch
from torch import Tensor

from evoens.ensemble import Ensemble, load_ensemble
from evoens.errors import EvoensError, SpecError
from evoens.parent import Architecture, Parent
from evoens.spec import load_class, locate
from evoens.strategy import Strategy
from evoens.verify import folder_checks

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
    with pytest.raises(SpecError, match=r"model\.py:build\": expected sha256 .*…, found a file with"):
        load_ensemble(tmp_path / "saved")
    assert not (tmp_path / "ran").exists()
    assert [check.name for check in folder_checks(tmp_path / "saved") if not check.ok] == ["parent"]


def test_a_missing_file_is_named(save: Callable[..., Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save()
    (tmp_path / "saved" / "model.py").unlink()
    with pytest.raises(
        SpecError, match=rf"expected a Python file, found none at {tmp_path}/saved/model\.py, model\.py"
    ):
        load_ensemble(tmp_path / "saved")


@pytest.mark.parametrize("name", ["../model.py", "/etc/model.py"])
def test_only_a_file_in_the_folder_is_taken(save: Callable[..., Tensor], tmp_path: Path, name: str) -> None:
    save()
    file = tmp_path / "saved" / "genomes.json"
    file.write_text(file.read_text().replace('"model.py:build"', f'"{name}:build"'))
    (tmp_path / "saved" / "model.py").rename(tmp_path / "model.py")
    with pytest.raises(EvoensError, match=rf"found none at {tmp_path}/saved/model\.py"):
        load_ensemble(tmp_path / "saved")


def test_strategy_and_network_of_one_file(save: Callable[..., Tensor], tmp_path: Path) -> None:
    expected = save("model.py:Shrink", text=own_classifier.MODEL + STRATEGY)
    assert sorted(path.name for path in (tmp_path / "saved").glob("*.py")) == ["model.py"]
    assert torch.equal(load_ensemble(tmp_path / "saved").predict(INPUTS), expected)


def test_strategy_and_network_of_two_files_of_one_name(save: Callable[..., Tensor], tmp_path: Path) -> None:
    expected = save("mine.py:Shrink", network="mine.py")
    assert sorted(path.name for path in (tmp_path / "saved").glob("*.py")) == ["mine.py", "network_mine.py"]
    assert architecture(tmp_path / "saved")["target"] == "network_mine.py:build"
    assert torch.equal(load_ensemble(tmp_path / "saved").predict(INPUTS), expected)


def test_a_file_that_has_changed_meanwhile_is_not_saved(save: Callable[..., Tensor], tmp_path: Path) -> None:
    save()
    loaded = load_ensemble(tmp_path / "saved")
    (tmp_path / "saved" / "model.py").write_text("")
    with pytest.raises(SpecError, match="expected sha256"):
        loaded.save(tmp_path / "again", locate("noisy"), ARGUMENTS, {})
