"""A whole table: made, gone on with to the same bits, read back, and shown."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_run import timeless
from tiny_table import METHODS, written
from typer.testing import CliRunner

import evoens
from evoens.cli import app
from evoens.config.table import load_table
from evoens.ensemble import load_ensemble
from evoens.errors import CheckpointError, ConfigError
from evoens.predictors.networks import Networks
from evoens.report.console import Reporter
from evoens.scoring import calibration
from evoens.tables.cell import Cell
from evoens.tables.work import make_table
from evoens.tasks import open_task

pytestmark = pytest.mark.usefixtures("one_thread", "same_plan")
TIMES = ("seconds", "peak_memory", "versions", "config")


class Console(Reporter):
    """Keeps what it is warned of, and stops where it is told to."""

    def __init__(self, stop: int = 0) -> None:
        super().__init__(quiet=True)
        self.warnings: list[str] = []
        self.stop, self.steps = stop, 0

    def on_warning(self, text: str) -> None:
        self.warnings.append(text)

    def on_training(self, progress: Any) -> None:
        self.steps += 1
        if self.steps == self.stop:
            raise KeyboardInterrupt


def made(folder: Path, methods: str = METHODS, seeds: tuple[int, ...] = (0, 1), stop: int = 0, *settings: str) -> Any:
    table = load_table(written(folder, methods), settings)
    return make_table(table, table.rows, seeds, folder / "tiny", Console(stop))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, one_thread: None, same_plan: None) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    made(folder)
    return folder / "tiny"


def without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in TIMES}
    return [without_times(v) for v in value] if isinstance(value, list) else timeless(value)


def test_scores_are_those_of_the_outputs(whole: Path) -> None:
    found = json.loads((whole / "table.json").read_text())
    table = load_table(whole.parent / "tiny.yaml")
    task = open_task(table.rows[0].config(0, table.base), table.base)
    problem = task.problem(task.untrained())
    select, test = (problem.part(problem.split(name)).labels for name in ("select", "test"))
    assert [row["label"] for row in found["rows"]] == ["single", "bagging", "snapshot", "sparse"]
    for row in found["rows"]:
        for seed in (0, 1):
            outputs = load_file(whole / "rows" / row["label"] / str(seed) / "outputs.safetensors")
            assert outputs["test"].shape == (300, 10)
            scores = {name: own["values"][seed] for name, own in row["scores"].items()}
            tempered = calibration.tempered(outputs["test"], calibration.temperature(outputs["select"], select))
            assert scores["accuracy"] == pytest.approx(float(calibration.correct(outputs["test"], test).mean()))
            assert scores["nll"] == pytest.approx(float(calibration.nll(outputs["test"], test).mean()), rel=1e-6)
            assert scores["calibrated_nll"] == pytest.approx(float(calibration.nll(tempered, test).mean()), rel=1e-5)
        values = row["scores"]["accuracy"]["values"]
        assert row["scores"]["accuracy"]["mean"] == pytest.approx(sum(values) / 2)
        assert row["scores"]["accuracy"]["sd"] == pytest.approx(abs(values[0] - values[1]) / 2**0.5)
    single, bagging = found["rows"][:2]
    assert single["differences"] == {}
    less = bagging["scores"]["accuracy"]["mean"] - single["scores"]["accuracy"]["mean"]
    own = bagging["differences"]["accuracy"]
    assert own["score"] == pytest.approx(less) and own["ci95"][0] <= less <= own["ci95"][1] and own["seeds"] == 2


def test_costs_are_counted(whole: Path) -> None:
    rows = {row["label"]: row["cost"] for row in json.loads((whole / "table.json").read_text())["rows"]}
    forward, images = 2 * (64 * 16 + 16 * 10), 120
    weights = 64 * 16 + 16 + 16 * 10 + 10
    single, bagging, snapshot, sparse = (rows[name] for name in ("single", "bagging", "snapshot", "sparse"))
    assert single["epochs"] == snapshot["epochs"] == 4 and single["training_flops"] == 3 * forward * images * 4
    assert single["answer_flops"] == forward and snapshot["answer_flops"] == 2 * forward
    assert single["weights"] <= weights and snapshot["weights"] <= 2 * weights
    assert bagging["epochs"] == pytest.approx(4 * 0.9) and bagging["training_flops"] == 3 * forward * 108 * 4
    masked = 2 * (64 * 16 / 2 + 16 * 10)  # half of all weights but the output layer's
    assert sparse["epochs"] == 4 and sparse["training_flops"] == 3 * images * (2 * forward + 2 * masked)
    assert sparse["answer_flops"] == 2 * masked


def test_interrupted_it_goes_on_to_the_same_bits(whole: Path, tmp_path: Path) -> None:
    for stop in (13, 40, 60):
        with pytest.raises(KeyboardInterrupt):
            made(tmp_path, METHODS, (0, 1), stop)
    found = made(tmp_path)
    assert without_times(found) == without_times(json.loads((whole / "table.json").read_text()))
    for path in whole.glob("rows/*/*/outputs.safetensors"):
        assert (tmp_path / "tiny" / path.relative_to(whole)).read_bytes() == path.read_bytes(), path


def test_a_network_that_two_rows_need_is_trained_once(whole: Path) -> None:
    single = load_ensemble(whole / "rows" / "single" / "0")
    trainings = list((whole / "trainings").iterdir())
    assert len(trainings) == 2 * (1 + 2 + 1 + 1)
    assert isinstance(single, Networks) and len(single.weights) == 1


def test_what_is_saved_answers_as_it_was_measured(whole: Path) -> None:
    table = load_table(whole.parent / "tiny.yaml")
    task = open_task(table.rows[0].config(0, table.base), table.base)
    problem = task.problem(task.untrained())
    (inputs,) = problem.batches(problem.split("test"))
    for label in ("single", "bagging", "snapshot", "sparse"):
        folder = whole / "rows" / label / "1"
        outputs = load_file(folder / "outputs.safetensors")["test"]
        ensemble = load_ensemble(folder)
        torch.testing.assert_close(ensemble.predict(inputs), outputs, rtol=1e-5, atol=1e-6)
        assert ensemble.temperature is not None and ensemble.classes == tuple(map(str, range(10)))


def test_damaged_networks_are_found(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole / "rows" / "bagging" / "0", tmp_path, dirs_exist_ok=True)
    file = tmp_path / "ensemble" / "1.safetensors"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(bytes(data))
    with pytest.raises(CheckpointError, match=r"1\.safetensors: expected the weights that networks\.json names"):
        load_ensemble(tmp_path)


def test_rows_can_be_added_and_other_settings_are_refused(whole: Path, tmp_path: Path) -> None:
    shutil.copytree(whole, tmp_path / "tiny", ignore=shutil.ignore_patterns("sparse", "1"))
    found = made(tmp_path, METHODS + "  dense: {members: 2}\n", (0,))
    assert [row["label"] for row in found["rows"]] == ["single", "bagging", "snapshot", "sparse", "dense"]
    with pytest.raises(CheckpointError, match=r"cannot go on as it began:\n  arguments\.members: expected 2"):
        made(tmp_path, METHODS.replace("members: 2", "members: 4"), (0,))


def test_what_the_budget_does_not_allow_is_said_before_anything_is_trained(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    path = written(tmp_path, METHODS.replace("cycles: 2", "cycles: 3"))
    result = CliRunner().invoke(app, ["compare", path, "--runs", str(tmp_path / "runs"), "--quiet"])
    assert result.exit_code == 2 and not list((tmp_path / "runs").iterdir())
    assert "methods.snapshot.cycles: expected what divides the budget of 4 epochs (1, 2, 4), found 3" in result.stderr
    assert "tiny.yaml:" in result.stderr


OWN = """
from evoens.methods.base import Baseline, Fitted

class Pair(Baseline):
    name = "pair"

    def fit(self, setting, folder, on_progress):
        two = [setting.train(on_progress, i, epochs=setting.epochs // 2) for i in range(2)]
        return Fitted.of(setting.networks([one.weights for one in two]), two)
"""


def test_a_user_s_own_method(tmp_path: Path) -> None:
    (tmp_path / "pair.py").write_text(OWN)
    found = made(tmp_path, "methods: {single: {}, dense: {members: 2}, pair: {method: pair.py:Pair}}\n", (0,))
    _, dense, pair = found["rows"]
    assert pair["scores"] == dense["scores"] and pair["size"] == 2 and pair["cost"]["epochs"] == 4


def test_the_files_and_the_frame(whole: Path) -> None:
    rows = list(csv.DictReader((whole / "table.csv").open()))
    frame = evoens.table(whole)
    assert [row["label"] for row in rows] == list(frame.index) == ["single", "bagging", "snapshot", "sparse"]
    assert float(rows[1]["accuracy"]) == pytest.approx(frame.loc["bagging", "accuracy"])
    page = (whole / "table.html").read_text()
    assert page.count("<img") == 2 and "snapshot" in page and "expected" not in page
    with pytest.raises(CheckpointError, match="expected a table, found no such file"):
        evoens.table(whole / "rows")


def test_finished_runs_side_by_side(whole: Path, tmp_path: Path) -> None:
    folders = [str(whole / "rows" / "sparse" / seed / "run") for seed in "01"]
    result = CliRunner().invoke(app, ["compare", *folders, "--runs", str(tmp_path), "--name", "both", "--json"])
    assert result.exit_code == 0, result.stderr
    parent, sparse = json.loads(result.stdout)["rows"]
    assert parent["label"] == "parent" and sparse["label"] == "sparse" and sparse["seeds"] == [0, 1]
    own = json.loads((whole / "table.json").read_text())["rows"][3]
    assert sparse["scores"]["accuracy"] == own["scores"]["accuracy"]
    assert sparse["cost"]["training_flops"] == own["cost"]["training_flops"] and parent["cost"]["epochs"] == 2
    assert (tmp_path / "both" / "table.html").is_file()


def test_a_cell_says_what_is_wrong_with_it(whole: Path, tmp_path: Path) -> None:
    assert Cell.load(tmp_path) is None
    shutil.copytree(whole / "rows" / "single" / "0", tmp_path, dirs_exist_ok=True)
    (tmp_path / "outputs.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"expected the outputs that cell\.json names, found others"):
        Cell.load(tmp_path)


def test_a_table_is_validated_and_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    path = written(tmp_path)
    assert CliRunner().invoke(app, ["validate", path]).stdout.endswith("tiny.yaml: ok\n")
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "mine.txt").write_text("")
    with pytest.raises(CheckpointError, match="expected no such folder yet, or a table's, found another"):
        made(tmp_path)
    with pytest.raises(ConfigError, match="expected an integer"):
        made(tmp_path, METHODS, (0,), 0, "budget.epochs=0")
