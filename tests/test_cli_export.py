"""`python -m evoens export`: a file of a finished run, the lines that use it, and whatever can be wrong in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from typer.testing import CliRunner, Result

from evoens.cli import app
from evoens.config.load import RESOLVED, load
from evoens.ensemble import Ensemble, load_ensemble
from evoens.ensemble_folder import description_sha256
from evoens.export.file import ABOUT
from evoens.scoring.calibration import temperature
from evoens.tasks import open_task
from evoens.tasks.classification_task import ClassificationTask

RUN = (
    "parent.train.epochs=2",
    "search.population=4",
    "search.generations=1",
    "search.elites=2",
    "selection.size=3",
    "report.bootstrap=100",
    "report.random_draws=2",
    "trust_region={frames: 64, children: 2, grid: [0.02, 0.04]}",
)


def call(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where a small run is."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("runs")
    sets = [word for change in RUN for word in ("--set", change)]
    result = call("run", "digits_noisy", "--retrain", "--runs", folder, *sets)
    assert result.exit_code == 0, result.output
    yield folder
    torch.set_num_threads(before)


def exported(runs: Path, path: Path, *args: str) -> dict[str, Any]:
    result = call("export", "digits_noisy", "--runs", runs, "--out", path, "--json", *args)
    assert result.exit_code == 0, result.output
    found: dict[str, Any] = json.loads(result.stdout)
    assert found["path"] == str(path) and found["bytes"] == path.stat().st_size
    assert found["difference"] < 1e-6
    return found


def facts(path: Path) -> dict[str, Any]:
    with safe_open(path, "pt") as file:
        return {name: json.loads(text) for name, text in file.metadata().items()}


def pixels(count: int = 5) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8)


def test_a_pt2_of_bytes_gives_what_the_ensemble_predicts_of_images(runs: Path, tmp_path: Path) -> None:
    found = exported(runs, tmp_path / "new" / "it.pt2", "--to", "pt2", "--raw")
    ensemble, extra = load_ensemble(runs / "digits_noisy"), {ABOUT: ""}
    module = torch.export.load(found["path"], extra_files=extra).module()
    images = pixels(7)
    with torch.no_grad():
        expected = ensemble.predict_images(images, calibrated=True)
        torch.testing.assert_close(module(images).double(), expected, rtol=0, atol=1e-6)
    about = json.loads(extra[ABOUT])
    assert about["classes"] == [str(digit) for digit in range(10)] and about["temperature"] == ensemble.temperature
    assert about["inputs"] == {"inputs": {"shape": [1, 8, 8], "dtype": "uint8"}} and about["members"] == 3
    assert about["name"] == "digits_noisy" and about["combine"] == "mean"


@pytest.mark.parametrize("raw", [[], ["--raw"]], ids=["floats", "bytes"])
@pytest.mark.parametrize("to", ["onnx", "pt2", "safetensors"])
def test_the_lines_that_are_printed_use_the_file(to: str, raw: list[str], runs: Path, tmp_path: Path) -> None:
    if to == "onnx":
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'evoens[export]'")
        pytest.importorskip("onnxscript", reason="onnxscript is not installed: pip install 'evoens[export]'")
    found = exported(runs, tmp_path / f"it.{to}", "--to", to, *raw)
    script = f"{found['usage']}\nprint(*probabilities.ravel().tolist())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    classes, numbers = done.stdout.splitlines()
    ensemble = load_ensemble(runs / "digits_noisy")
    if raw:
        expected = ensemble.predict_images(torch.zeros(1, 1, 8, 8, dtype=torch.uint8), calibrated=True)
    else:
        expected = ensemble.predict(torch.zeros(1, 1, 8, 8), calibrated=True)
    answer = torch.tensor([[float(number) for number in numbers.split()]], dtype=torch.float64)
    torch.testing.assert_close(answer, expected, rtol=0, atol=1e-5)
    assert classes == str([str(int(expected.argmax()))])


def test_it_says_where_the_file_is_and_how_it_is_used(runs: Path) -> None:
    result = call("export", "digits_noisy", "--runs", runs, "--to", "safetensors")
    first, empty, *lines = result.stdout.splitlines()
    path = runs / "digits_noisy" / "ensemble.safetensors"
    assert first.startswith(f"{path}: 3 members, {path.stat().st_size:,} bytes; at most ")
    assert not empty and lines[0] == "import json" and f'"{path}"' in "\n".join(lines)


def test_fewer_members_are_the_first_with_a_temperature_of_their_own(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "it.safetensors"
    found = exported(runs, path, "--to", "safetensors", "--size", "2")
    whole, loaded = load_ensemble(runs / "digits_noisy"), load(runs / "digits_noisy" / RESOLVED, retrain=True)
    part = Ensemble(whole.parent, whole.strategy, whole.genomes[:2])
    task = open_task(loaded.config, loaded.base)
    assert isinstance(task, ClassificationTask)
    images = task.data.splits["select"]
    expected = temperature(part.predict(task.data.normalise(images.all())), images.labels)
    assert found["members"] == facts(path)["members"] == 2
    assert facts(path)["temperature"] == pytest.approx(expected, rel=1e-5) != whole.temperature


def test_a_budget_is_in_parents(runs: Path, tmp_path: Path) -> None:
    """All layers are perturbed here but for the classes' biases, so that each member costs what the parent does."""
    counts = {}
    for times in ("1x", "1.9", "2x", "100x"):
        counts[times] = exported(runs, tmp_path / "it.pt2", "--to", "safetensors", "--budget", times)["members"]
    assert counts == {"1x": 1, "1.9": 1, "2x": 2, "100x": 3}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--to", "onix"], "'onix' is not one of 'onnx', 'pt2', 'safetensors'"),
        (["--to", "pt2", "--size", "4"], "--size: expected at most 3 members, as the ensemble has, found 4"),
        (["--to", "pt2", "--size", "0"], "greater than or equal to 1"),
        (
            ["--to", "pt2", "--budget", "0.5x"],
            "--budget: expected a number of parents, 1x or more, such as 2x, found 0",
        ),
        (["--to", "pt2", "--budget", "nan"], "--budget: expected a number of parents, 1x or more"),
        (["--to", "pt2", "--budget", "much"], "--budget: expected a number of parents, 1x or more"),
        (["--to", "pt2", "--budget", "2x", "--size", "1"], "--size, --budget: expected one of them, found both"),
        (["--to", "pt2", "--out", "."], "--out: expected a file's path, found the folder ."),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_before_anything_is_done(args: list[str], says: str, runs: Path) -> None:
    before = sorted(runs.rglob("*"))
    result = call("export", "digits_noisy", "--runs", runs, *args)
    assert result.exit_code == 2 and says in " ".join(result.output.split())
    assert sorted(runs.rglob("*")) == before


def described(runs: Path, tmp_path: Path, **changes: Any) -> Path:
    """A run of which only the description is there, changed."""
    folder = tmp_path / "digits_noisy"
    (folder / "ensemble").mkdir(parents=True)
    (folder / RESOLVED).write_bytes((runs / "digits_noisy" / RESOLVED).read_bytes())
    document = json.loads((runs / "digits_noisy" / "ensemble" / "genomes.json").read_text()) | changes
    document["sha256"] = description_sha256(document)
    (folder / "ensemble" / "genomes.json").write_text(json.dumps(document))
    return folder


@pytest.mark.parametrize(
    ("changes", "args", "says"),
    [
        ({"combine": "majority-vote"}, [], "combine: expected a rule without chance, found majority-vote"),
        ({"preprocessing": None}, ["--raw"], "--raw: expected a classifier of images, whose normalisation is known"),
        ({"architecture": {"target": "<module>:Net"}}, [], "expected a network that is built from its name, found one"),
    ],
    ids=["a vote", "raw", "given"],
)
def test_what_cannot_be_exported_is_known_from_its_description(
    changes: dict[str, Any], args: list[str], says: str, runs: Path, tmp_path: Path
) -> None:
    result = call("export", described(runs, tmp_path, **changes), "--to", "pt2", *args)
    assert result.exit_code == 2 and says in " ".join(result.output.split())


def test_a_run_without_an_ensemble_has_none_to_export(runs: Path, tmp_path: Path) -> None:
    folder = described(runs, tmp_path)
    (folder / "ensemble" / "genomes.json").unlink()
    result = call("export", folder, "--to", "pt2")
    assert result.exit_code == 2 and "expected a finished run, found no ensemble in it" in result.output


def test_without_the_packages_it_says_what_installs_them(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evoens.export.file.find_spec", lambda name: None)
    result = call("export", "digits_noisy", "--runs", runs, "--to", "onnx")
    assert result.exit_code == 2 and "pip install 'evoens[export]'" in " ".join(result.output.split())
