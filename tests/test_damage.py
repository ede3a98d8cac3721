"""Every JSON file of a finished run in thirty states of damage: each command ends well or in one line, exit code 2."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from damages import damages
from parents import GOOD, write_parent
from tiny_run import config, execute
from typer.testing import CliRunner, Result

from evoens.cli import app
from evoens.contract.verify import folder_checks
from evoens.ensemble import load_ensemble
from evoens.errors import EvoensError
from evoens.report import listeners
from evoens.storage.checkpoint import CheckpointStore

FILES = ("report.json", "history.json", "population.jsonl", "ensemble/genomes.json", "environment.json")


@pytest.fixture(scope="module")
def whole(same_plan: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listeners, "write_report", lambda folder: folder / "report.html")
        execute(folder, config(strategy={"sigma": 0.1}, search={"generations": 1}))
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "runs" / "x"))


def call(*args: object) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


@pytest.mark.parametrize("name", FILES)
def test_no_command_ends_in_a_traceback(name: str, run: Path) -> None:
    for number, data in enumerate(damages(run / name, len(name))):
        (run / name).write_bytes(data)
        for args in (
            ("list", "--json"),
            ("list",),
            ("inspect", run),
            ("inspect", run, "a"),
            ("inspect", run / "ensemble"),
        ):
            result = call(*args, "--runs", run.parent)
            assert result.exit_code in ((0,) if args[0] == "list" else (0, 2)), (number, args, result.output)
            assert result.exception is None or isinstance(result.exception, SystemExit), (number, args, data[:80])
            assert len(result.stderr.splitlines()) == (1 if result.exit_code else 0), (args, result.stderr)
        assert all(check.detail for check in folder_checks(run))
        try:
            load_ensemble(run)
        except EvoensError as error:
            assert len(str(error).splitlines()) == 1


def test_one_damaged_run_leaves_the_others_listed(run: Path) -> None:
    shutil.copytree(run, run.parent / "y")
    (run / "population.jsonl").write_text('{"key": ["a"]}\n')
    x, y = json.loads(call("list", "--json", "--runs", run.parent).stdout)["runs"]
    assert y["state"] == "finished"
    place = run / "population.jsonl"
    assert x["state"] == f"damaged: {place}:1: expected a child a line, found damage: generation: field required"


@pytest.mark.parametrize("name", ["manifest.json", "state.json"])
def test_the_older_checkpoint_is_taken(name: str, whole: Path, tmp_path: Path) -> None:
    store = CheckpointStore(Path(shutil.copytree(whole / "checkpoints", tmp_path / "checkpoints")))
    new, old = store._folders()
    for data in damages(new / name, 3):
        if name == "manifest.json" and data == (new / name).read_bytes():
            continue
        (new / name).write_bytes(data)
        saved, skipped = store.latest()
        assert saved is not None and (saved.step == int(old.name)) == bool(skipped)
        assert all(len(line.splitlines()) == 1 and line.startswith(str(new)) for line in skipped)
        assert len(store.verify()) == 2


def test_a_page_of_what_no_run_writes_is_one_line(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report = json.loads((run / "report.json").read_text())
    (run / "report.json").write_text(json.dumps({**report, "cost": {}}))
    monkeypatch.setattr("evoens.report.page.sections", lambda facts: [facts.report["cost"]["seconds"]])
    result = call("report", run)
    expected = f"error: {run}: expected what a run leaves, found damage (KeyError: 'seconds')\n"
    assert (result.exit_code, result.stderr) == (2, expected) and not (run / "report.html").exists()


@pytest.mark.parametrize("seed", [7, 9])
def test_a_damaged_card_is_told_and_no_traceback(seed: int, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(GOOD)
    card = write_parent(tmp_path / "parent.safetensors").with_suffix(".json")
    for data in list(damages(card, seed)):
        card.write_bytes(data)
        for args in (("validate", tmp_path / "x.yaml"), ("run", tmp_path / "x.yaml", "--dry-run"), ("inspect", card)):
            result = call(*args)
            assert result.exception is None or isinstance(result.exception, SystemExit), (args, data[:80])
            lines = result.stderr.splitlines()
            assert result.exit_code == (2 if lines else 0) and all(len(line) < 500 for line in lines), result.stderr
