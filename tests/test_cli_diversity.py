"""`python -m evoens diversity`: on a finished and an unfinished run, on files of weights, and with wrong input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner, Result

from evoens.analysis.subject import of_run
from evoens.children import child_weights
from evoens.cli import app
from evoens.config.load import RESOLVED, load
from evoens.ensemble import load_ensemble
from evoens.genome import Genome
from evoens.parent import fingerprint
from evoens.tasks import open_task

RUN = (
    "parent.train.epochs=2",
    "search.population=4",
    "search.elites=2",
    "selection.size=3",
    "report.bootstrap=100",
    "report.random_draws=2",
    "trust_region={frames: 64, children: 2, grid: [0.02, 0.04]}",
)
SMALL = ("diversity.activations.inputs=64", "diversity.outputs.inputs=64")
PARTS = ("--part", "outputs", "--part", "activations")


def call(*args: str | Path) -> Result:
    return CliRunner().invoke(app, [str(arg) for arg in args])


def sets(*changes: str) -> list[str]:
    return [word for change in changes for word in ("--set", change)]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a small run."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    runs = tmp_path_factory.mktemp("runs")
    result = call("run", "digits_noisy", "--retrain", "--runs", runs, *sets(*RUN))
    assert result.exit_code == 0, result.output
    yield runs / "digits_noisy"
    torch.set_num_threads(before)


@pytest.fixture
def folder(done: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(done, tmp_path / "runs" / "digits_noisy"))


def test_a_finished_run(folder: Path) -> None:
    result = call("diversity", folder, *PARTS, *sets(*SMALL), "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert set(found) == {"outputs", "activations"} and found["outputs"]["inputs"] == 64
    ensemble, frames = load_ensemble(folder), torch.zeros(1, 1, 8, 8)
    assert found["outputs"]["members"] == [f"member {i + 1}" for i in range(len(ensemble.outputs(frames)))]
    page = (folder / "report.html").read_text()
    assert "What the members answer" in page and "Verdict" not in page.partition("<h2>")[0]
    assert (folder / "tb" / "diversity").is_dir()


def test_costs_are_named_before_the_work_and_a_second_time_nothing_is_done(folder: Path) -> None:
    first = call("diversity", folder.name, "--runs", folder.parent, *PARTS, *sets(*SMALL))
    assert "to do: outputs, 4 networks × 64 inputs × 3 passes" in first.stdout
    stamp = (folder / "diversity" / "outputs.json").stat().st_mtime_ns
    again = call("diversity", folder, *PARTS, *sets(*SMALL), "--quiet")
    assert (
        again.stdout == f"{folder}/report.html\n"
        and (folder / "diversity" / "outputs.json").stat().st_mtime_ns == stamp
    )


def test_a_run_that_is_not_finished_shows_its_best_so_far(folder: Path) -> None:
    ensemble = load_ensemble(folder)
    shutil.rmtree(folder / "ensemble")
    (folder / "report.json").unlink()
    result = call("diversity", folder, "--part", "outputs", *sets(*SMALL), "--json")
    assert result.exit_code == 0, result.output
    assert len(json.loads(result.stdout)["outputs"]["members"]) == 3
    assert "not finished" in (folder / "report.html").read_text()
    config = load(folder / RESOLVED, [], retrain=True)
    subject = of_run(open_task(config.config, config.base), config.config, config.base, folder)
    rows = [json.loads(line) for line in (folder / "population.jsonl").read_text().splitlines()]
    for module, row in zip(subject.modules, sorted(rows, key=lambda row: -row["fitness"]), strict=False):
        grown = child_weights(ensemble.parent, ensemble.strategy, Genome.from_json(row["genome"]))
        child = ensemble.parent.child(grown).module
        assert fingerprint(module.state_dict()) == fingerprint(child.state_dict())


def test_files_of_weights(folder: Path) -> None:
    weights = load_file(folder / "ensemble" / "parent.safetensors")
    paths = [folder / name for name in ("a.safetensors", "b.safetensors")]
    save_file(weights, paths[0])
    save_file({name: 0.9 * weight for name, weight in weights.items()}, paths[1])
    files = ("--models", *paths, "--problem", "digits_noisy", "--runs", folder.parent)
    result = call("diversity", *files, "--part", "outputs", "--json", *sets(*SMALL))
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["outputs"]["members"] == ["a", "b"]
    page = (folder.parent / "digits_noisy-diversity" / "report.html").read_text()
    assert "What the members answer" in page and "not finished" not in page
    listed = json.loads(call("list", "--runs", folder.parent, "--json").stdout)["runs"]
    assert [row["state"] for row in listed] == ["finished", "no run: networks compared by outputs"]
    lost = folder.parent / "digits_noisy-diversity" / "diversity" / "outputs-size.svg"
    lost.unlink()
    assert call("list", "--runs", folder.parent).exit_code == 0
    elsewhere = ("--models", *paths, "--problem", "digits_noisy", "--runs", folder / "other", "--part", "activations")
    assert call("diversity", *elsewhere, *sets("diversity.activations.layers=[nowhere]")).exit_code == 2
    assert not (folder / "other").exists()
    torch.save({"other": torch.zeros(3)}, folder / "c.pt")
    wrong = call("diversity", "--models", paths[0], folder / "c.pt", "--problem", "digits_noisy")
    assert wrong.exit_code == 2 and "c.pt: expected the weights of" in wrong.stderr


WRONG = {
    "no such run": (["digits_nosiy"], "config.resolved.yaml in it, found none; did you"),
    "two runs": (["a", "b"], "expected one run, found 2; files of weights go with --models and --problem"),
    "no such part": (["digits_noisy", "--part", "outptus"], 'found outptus; did you mean "outputs"?'),
    "no such key": (["digits_noisy", *sets("diversity.outputs.input=3")], 'unknown key; did you mean "inputs"?'),
    "too few inputs": (["digits_noisy", *sets("diversity.outputs.inputs=1")], "expected an integer ≥ 4, found 1"),
    "no such layer": (
        ["digits_noisy", "--part", "activations", *sets("diversity.activations.layers=[layers.9]")],
        'layer "layers.9": expected one of the network\'s, found no such; did you mean "layers.',
    ),
    "no such layer to visualise": (
        ["digits_noisy", "--part", "features", *sets("diversity.features.layer=layer.2")],
        'layer "layer.2": expected one of the network\'s, found no such; did you mean "layers.2"?',
    ),
    "models of no problem": (["--models", "a.pt", "b.pt"], "--models: expected --problem beside it"),
    "no such model": (["--models", "a.pt", "b.pt", "--problem", "digits_noisy"], "a.pt: expected a file of weights"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_one_line_before_any_work(case: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent.parent)
    before = sorted(folder.rglob("*"))
    args, message = WRONG[case]
    result = call("diversity", *args)
    assert result.exit_code == 2 and message in result.stderr and result.stderr.count("\n") == 1
    assert sorted(folder.rglob("*")) == before


def test_a_run_with_a_single_member_has_nobody_to_compare(folder: Path) -> None:
    path = folder / "ensemble" / "genomes.json"
    shutil.rmtree(path.parent)
    lines = (folder / "population.jsonl").read_text().splitlines()
    (folder / "population.jsonl").write_text(lines[0] + "\n")
    result = call("diversity", folder, *PARTS)
    assert result.exit_code == 2 and "expected at least two members to compare, found 1" in result.stderr
    (folder / "population.jsonl").write_text("")
    result = call("diversity", folder, *PARTS)
    assert result.exit_code == 2 and "at least one generation done, found none" in result.stderr
