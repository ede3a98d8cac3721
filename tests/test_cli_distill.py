"""`python -m evoens distill`: a student between parent and ensemble, a parent for further runs, the same bits again."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from evoens.cli import app
from evoens.config.load import RESOLVED, load
from evoens.ensemble import load_ensemble
from evoens.problem import drive
from evoens.scoring import calibration
from evoens.storage.tensor_file import load_tensors
from evoens.tasks import open_task
from evoens.tasks.labelled import LabelledProblem

RUN = (
    "parent.train.epochs=3",
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
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a small run whose ensemble was distilled."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    runs = tmp_path_factory.mktemp("runs")
    result = call("run", "digits_noisy", "--retrain", "--runs", runs, *(w for c in RUN for w in ("--set", c)))
    assert result.exit_code == 0, result.output
    result = call("distill", "digits_noisy", "--runs", runs)
    assert result.exit_code == 0, result.output
    (runs / "said").write_text(result.stdout)
    yield runs / "digits_noisy"
    torch.set_num_threads(before)


@pytest.fixture
def folder(done: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(done, tmp_path / "runs" / "digits_noisy"))


def test_it_says_what_parent_student_and_ensemble_reach_on_the_same_cases(done: Path) -> None:
    lines = (done.parent / "said").read_text().splitlines()
    assert "600 cases of the test split [95 % interval, paired]" in "\n".join(lines)
    names = [line.split()[0] for line in lines if line.split()[:1] in (["parent"], ["distilled"], ["ensemble"])]
    assert names == ["parent", "distilled", "ensemble"]
    assert lines[-1] == str(done / "distilled.safetensors")


def test_the_figures_are_those_of_its_weights(done: Path) -> None:
    card = json.loads((done / "distilled.json").read_text())
    about = card["distilled"]
    assert about["run"] == "digits_noisy" and about["members"] == 3 and card["epochs"] == 3
    loaded = load(done / RESOLVED, retrain=True)
    task = open_task(loaded.config, loaded.base)
    student, _ = task.load(done / "distilled.safetensors")
    problem = task.problem(student)
    assert isinstance(problem, LabelledProblem)
    outputs = {name: drive(problem.answers(problem.split(name)), student.predict) for name in ("select", "test")}  # type: ignore[arg-type]
    labels = {name: problem.splits[name].labels for name in ("select", "test")}
    right = float(calibration.correct(outputs["test"], labels["test"]).mean())
    assert about["test"]["distilled"]["test"]["score"] == pytest.approx(right)
    fitted = calibration.temperature(outputs["select"], labels["select"])
    nll = float(calibration.nll(calibration.tempered(outputs["test"], fitted), labels["test"]).mean())
    assert about["test"]["distilled"]["test_calibrated_nll"]["score"] == pytest.approx(nll, abs=1e-6)
    report = json.loads((done / "report.json").read_text())
    for name in ("parent", "ensemble"):
        for figure in ("test", "test_calibrated_nll"):
            assert about["test"][name][figure]["score"] == pytest.approx(report[name][figure]["score"], abs=1e-6)


def test_it_has_come_nearer_to_the_ensemble(done: Path) -> None:
    ensemble, inputs = load_ensemble(done), torch.randn(200, 1, 8, 8)
    loaded = load(done / RESOLVED, retrain=True)
    student, _ = open_task(loaded.config, loaded.base).load(done / "distilled.safetensors")
    teacher = ensemble.predict(inputs, calibrated=True)
    apart = {
        name: float((p.predict(inputs) - teacher).abs().mean())
        for name, p in (("student", student), ("parent", ensemble.parent))
    }
    assert apart["student"] < apart["parent"]


def test_killed_it_goes_on_to_the_same_bits(done: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_tensors(done / "distilled.safetensors", "a student")
    shutil.rmtree(folder / "distilled")
    (folder / "distilled.safetensors").unlink()
    with monkeypatch.context() as patch:
        patch.setattr("evoens.report.console.Reporter.on_training", stop_in_the_second_epoch)
        result = call("distill", folder)
    assert result.exit_code == 130 and "go on with:" in result.output
    assert not (folder / "distilled.safetensors").exists()
    assert [path.name for path in (folder / "distilled" / "checkpoints").glob("0*")] == ["00000001"]
    assert call("distill", folder, "--quiet").exit_code == 0
    found = load_tensors(folder / "distilled.safetensors", "a student")
    assert found.keys() == expected.keys() and all(torch.equal(found[name], expected[name]) for name in found)


def stop_in_the_second_epoch(self: object, progress: object) -> None:
    steps, total = progress.steps, progress.total  # type: ignore[attr-defined]
    if steps == total // 2:
        raise KeyboardInterrupt


def test_it_is_a_parent_for_a_further_run(done: Path, tmp_path: Path) -> None:
    checkpoint = f"parent.checkpoint={done / 'distilled.safetensors'}"
    result = call("run", "digits_noisy", "--runs", tmp_path, "--dry-run", "--set", checkpoint)
    assert result.exit_code == 0, result.output


def test_other_settings_do_not_go_on_with_it(folder: Path) -> None:
    result = call("distill", folder, "--set", "parent.train.epochs=2")
    assert result.exit_code == 2 and "train.epochs: expected 3 (in the checkpoint), found 2" in result.output


def test_a_run_without_an_ensemble_has_nothing_to_distil(folder: Path) -> None:
    (folder / "ensemble" / "genomes.json").unlink()
    result = call("distill", folder)
    assert result.exit_code == 2 and "expected a finished run, found no ensemble in it" in result.output


def test_another_parent_is_none_to_begin_from(folder: Path) -> None:
    for ending in ("safetensors", "json"):
        shutil.copy(folder / f"distilled.{ending}", folder / "parent" / f"parent.{ending}")
    result = call("distill", folder)
    assert result.exit_code == 2 and "expected the parent that the ensemble is of, found another" in result.output
