"""The problem of handwritten digits that ships, run by command: what it leaves, and what can be done next."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner, Result

from evoens.cli import app
from evoens.config.load import find_problem
from evoens.config.yaml_file import read_yaml
from evoens.ensemble import load_ensemble
from evoens.errors import ShapeError
from evoens.genome import Genome
from evoens.report import listeners
from evoens.report.written import Report

CHANGES = (
    "parent.train.epochs=4",
    "search.population=6",
    "selection.size=3",
    "report.bootstrap=100",
    "report.random_draws=2",
    "trust_region={frames: 64, children: 2, grid: [0.02, 0.04, 0.08]}",
)
SETS = [word for change in CHANGES for word in ("--set", change)]
COMPETITORS = ("parent", "best_child", "random_children", "blend", "ensemble")
SOUP = """
import torch
from evoens.methods.base import Fitted, Method
from evoens.children import child_weights

class Blend(Method):
    name = "blend"

    def fit(self, evolved, folder, on_progress):
        parent = evolved.problem.parent
        grown = [child_weights(parent, evolved.strategy, genome) for genome in evolved.members]
        mean = {name: torch.stack([weights[name] for weights in grown]).mean(0) for name in grown[0]}
        return Fitted([lambda: parent.child(mean).predict], {"networks": 1})
"""  # a Method from outside of the package: the mean of the members' weights (Wortsman et al. 2022)
MEASURES = ("test", "test_nll", "test_calibrated_nll", "test_ece", "test_calibrated_ece")


def call(*args: str) -> Result:
    return CliRunner().invoke(app, args)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The folder of a small run that trains its own parent, and what it said."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    runs = tmp_path_factory.mktemp("runs")
    blend = tmp_path_factory.mktemp("methods") / "blend.py"
    blend.write_text(SOUP)
    result = call("run", "digits_noisy", "--retrain", "--runs", str(runs), *SETS, "--set", f"report.methods=[{blend}]")
    assert result.exit_code == 0, result.output
    yield runs / "digits_noisy", result.stdout
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def report(finished: tuple[Path, str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((finished[0] / "report.json").read_text())
    return found


def test_it_says_what_it_does_and_what_comes_next(finished: tuple[Path, str], report: dict[str, Any]) -> None:
    folder, said = finished
    lines = said.splitlines()
    assert lines[0] == "training a parent for 4 epochs" and report["verdict"] in lines
    following = lines[lines.index("Next:") + 1 :]
    assert [line.split("#")[0].strip() for line in following] == [
        f"tensorboard --logdir {folder}/tb",
        f"python -m evoens diversity {folder}",
        f"python -m evoens verify {folder}",
        f"python -m evoens inspect {folder}",
        f"open {folder}/report.html in a browser",
    ]


def test_the_report_has_every_measure_of_every_competitor(report: dict[str, Any]) -> None:
    assert report.keys() - set(COMPETITORS) <= Report.__annotations__.keys()  # no Method can have such a name
    assert [measure["key"] for measure in report["measures"]] == list(MEASURES)
    for name in COMPETITORS:
        for key in MEASURES:
            for stats in (report[name][key], report[name][f"{key}_difference"]):
                low, high = stats["ci95"]
                assert low <= high and stats["n"] == 600 and np.isfinite(stats["score"])
        for key in MEASURES:
            less = report[name][key]["score"] - report["parent"][key]["score"]
            assert report[name][f"{key}_difference"]["score"] == pytest.approx(less, abs=1e-12)
    assert report["unit"] == "accuracy" and 0.85 < report["parent"]["test"]["score"] < 1
    assert report["splits"] == {n: {"from": "train", "count": c} for n, c in zip(SPLITS, COUNTS, strict=True)}
    assert report["problem"]["splits"]["train"] == {"from": "train", "count": None}
    assert "After temperature scaling of both, fitted on the select split" in report["verdict"]
    assert (
        report["cost"]["evaluations"] == 1 + 2 * 6 + 2 + 6 + len(COMPETITORS) + 1 + 3
        and report["artifact"]["replayable"] == 3
    )


SPLITS, COUNTS = ("search", "select", "test"), (300, 300, 600)


def test_the_data_say_which_image_is_where(finished: tuple[Path, str]) -> None:
    found = json.loads((finished[0] / "data.json").read_text())
    places = {name: found["splits"][name]["indices"] for name in SPLITS}
    assert tuple(map(len, places.values())) == COUNTS and len({i for own in places.values() for i in own}) == 1200
    labels = load_digits().target
    for name, count in zip(SPLITS, COUNTS, strict=True):
        per_class = np.bincount(labels[places[name]])
        assert per_class.tolist() == found["splits"][name]["per_class"]
        assert np.abs(per_class - np.bincount(labels) * count / 1797).max() < 1
    assert found["classes"] == [str(digit) for digit in range(10)] and found["shape"] == [1, 8, 8]


def test_the_accuracies_come_out_again_from_the_folder_alone(
    finished: tuple[Path, str], report: dict[str, Any]
) -> None:
    """From scikit-learn's images, the places and the normalisation in data.json, and the saved ensemble."""
    folder, _ = finished
    found = json.loads((folder / "data.json").read_text())
    digits, places = load_digits(), found["splits"]["test"]["indices"]
    pixels = np.rint(digits.images[places] * 255 / 16) / 255
    mean, std = found["normalise"]["mean"][0], found["normalise"]["std"][0]
    inputs = torch.from_numpy((pixels - mean) / std).float()[:, None]
    labels = torch.from_numpy(digits.target[places])
    ensemble = load_ensemble(folder)
    members = [module.state_dict() for module in ensemble.modules()]
    blend = ensemble.parent.child({name: sum(own[name] for own in members) / 3 for name in members[0]})
    predictors = {"ensemble": ensemble.predict, "parent": ensemble.parent.predict, "blend": blend.predict}
    for name, predict in predictors.items():
        outputs = predict(inputs)
        accuracy = (outputs.argmax(-1) == labels).double().mean().item()
        assert accuracy == pytest.approx(report[name]["test"]["score"])
        nll = -outputs.double().log()[torch.arange(600), labels].mean().item()
        assert nll == pytest.approx(report[name]["test_nll"]["score"], rel=1e-4)


def test_the_saved_ensemble_is_as_well_calibrated_as_the_report_says(
    finished: tuple[Path, str], report: dict[str, Any]
) -> None:
    """From scikit-learn's images as bytes, and the ensemble's folder alone; to the last digit."""
    folder, _ = finished
    digits, places = load_digits(), json.loads((folder / "data.json").read_text())["splits"]["test"]["indices"]
    pixels = torch.from_numpy(np.rint(digits.images[places] * 255 / 16).astype(np.uint8))[:, None]
    labels = torch.from_numpy(digits.target[places])
    ensemble = load_ensemble(folder / "ensemble")
    assert ensemble.temperature == report["details"]["temperature"]["ensemble"] != 1
    for calibrated, key in ((False, "test_nll"), (True, "test_calibrated_nll")):
        outputs = ensemble.predict_images(pixels, calibrated=calibrated)
        own = outputs.double()[torch.arange(600), labels]
        assert -own.log().numpy().mean() == report["ensemble"][key]["score"]
    assert ensemble.classes == tuple("0123456789")
    for wrong in (pixels, pixels / 255, pixels.float()):
        with pytest.raises(ShapeError, match=r"predict_images takes bytes$"):
            ensemble.predict(wrong)


def test_a_method_of_ones_own_is_seen_wherever_results_are(finished: tuple[Path, str], report: dict[str, Any]) -> None:
    folder, said = finished
    assert report["blend"]["networks"] == 1
    score = f"{report['blend']['test']['score']:.4f} ["
    heads = [line.split("  ")[0].strip() for line in said.splitlines() if score in line]
    assert "blend" in heads  # in the console's table
    page = re.sub(r"<[^>]*>", " ", (folder / "report.html").read_text())
    assert re.search(rf"Blend\s+600\s+{re.escape(score)}", page)
    log = EventAccumulator(str(folder / "tb"))
    log.Reload()
    assert {tag for tag in log.Tags()["scalars"] if tag.startswith("results/")} == {f"results/{n}" for n in COMPETITORS}
    assert log.Scalars("results/blend")[0].value == pytest.approx(report["blend"]["test"]["score"])


def test_the_parent_was_trained_here(finished: tuple[Path, str], report: dict[str, Any]) -> None:
    folder, _ = finished
    card = json.loads((folder / "parent" / "parent.json").read_text())
    assert card == report["parent_card"] and card["epochs"] == 4 == len(card["curve"])
    assert card["curve"][-1]["accuracy"] > 0.9
    weights = load_file(folder / "parent" / "parent.safetensors")
    assert all(torch.equal(load_ensemble(folder).parent.weights[name], value) for name, value in weights.items())


def test_the_page_reads_as_one_of_a_classifier(finished: tuple[Path, str], report: dict[str, Any]) -> None:
    page = (finished[0] / "report.html").read_text()
    assert "4 epochs, seed 0, " in page and "Training accuracy" not in page  # that is in the picture
    assert "Loss and accuracy on what the parent learns from, over epochs." in page
    assert "600 images from train" in page and 'id="play"' not in page and "evoens play" not in page
    text = re.sub(r'src="data:[^"]*"', "", page).partition('<section id="settings">')[0]
    assert not any(wrong in text for wrong in ("None", "nan", "episode", "frame", "action", "environment steps"))
    read = re.sub(r"<[^>]*>", "", page).replace("&#39;", "'")
    assert report["verdict"] in read and "ensemble.predict_images(images, calibrated=True)" in read
    sure = report["details"]["temperature"]
    assert f"The temperature is {sure['parent']:.3f} for the parent, {sure['ensemble']:.3f} for the ensemble." in read


# ---- what can be done next


def test_verify_finds_everything_as_it_was_written(finished: tuple[Path, str]) -> None:
    found = call("verify", str(finished[0]), "--json")
    assert found.exit_code == 0
    names = [row["name"] for row in json.loads(found.stdout)]
    assert {"genomes.json", "parent", "strategy", "member 0", "member 2", "population.jsonl"} <= set(names)


def test_inspect(finished: tuple[Path, str], report: dict[str, Any]) -> None:
    folder = finished[0]
    run = json.loads(call("inspect", str(folder), "--json").stdout)
    assert (run["kind"], run["state"], run["children"], run["failed"]) == ("run", "finished", 12, 0)
    assert run["members"] == report["ensemble"]["members"] and run["unit"] == "accuracy"
    child = json.loads(call("inspect", str(folder), run["best"]["key"][:6], "--json").stdout)
    assert Genome.from_json(child["genome"]).key == run["best"]["key"]
    ensemble = json.loads(call("inspect", str(folder / "ensemble"), "--json").stdout)
    assert ensemble["about"]["problem"]["splits"]["test"] == {"from": "train", "count": 600}
    parent = json.loads(call("inspect", str(folder / "parent" / "parent.safetensors"), "--json").stdout)
    assert parent["network"] == "mlp" and parent["split_seed"] == 0
    assert "accuracy" in call("inspect", str(folder)).stdout


def test_there_is_nothing_to_play(finished: tuple[Path, str]) -> None:
    folder = finished[0]
    before = sorted(folder.rglob("*"))
    for path in (folder, folder / "ensemble"):
        result = call("play", str(path))
        expected = (
            f"error: {path}: expected a game to watch, found classification, in which there is nothing to watch\n"
        )
        assert (result.exit_code, result.stdout, result.stderr) == (2, "", expected)
    assert sorted(folder.rglob("*")) == before


def yaml_of(folder: Path) -> dict[str, Any]:
    value: dict[str, Any] = read_yaml(folder / "config.resolved.yaml").value
    return value


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the page as it is, which takes longer to draw than all the rest."""
    monkeypatch.setattr(listeners, "write_report", lambda folder: folder / "report.html")


@pytest.mark.usefixtures("undrawn")
def test_a_finished_run_is_left_alone_or_gone_through_again_to_the_same(finished: tuple[Path, str]) -> None:
    folder = finished[0]
    before = json.loads((folder / "report.json").read_text())
    blend = f"report.methods={json.dumps(yaml_of(folder)['report']['methods'])}"
    again = call("run", "digits_noisy", "--retrain", "--runs", str(folder.parent), *SETS, "--set", blend)
    assert again.exit_code == 2 and "found this one, finished: see" in again.stderr
    quiet = call("resume", str(folder), "--quiet")
    assert quiet.exit_code == 0 and quiet.stdout == f"{before['verdict']}\n{folder}/report.html\n"
    after = json.loads((folder / "report.json").read_text())
    assert {k: v for k, v in after.items() if k != "cost"} == {k: v for k, v in before.items() if k != "cost"}


@pytest.mark.usefixtures("undrawn")
def test_another_machine_may_go_on_only_by_force(finished: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = str(finished[0])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    refused = call("resume", folder)
    assert refused.exit_code == 2 and "machine.threads: expected 1 (in the checkpoint), found 8" in refused.stderr
    forced = call("resume", folder, "--force", "--quiet", "--json")
    assert forced.exit_code == 0, forced.stderr
    assert forced.stdout == (finished[0] / "report.json").read_text()
    assert "warning: machine.threads: expected 1" in forced.stderr and "UserWarning" not in forced.stderr


# ---- before


def test_what_would_be_done(tmp_path: Path) -> None:
    found = json.loads(call("run", "digits_noisy", "--retrain", "--runs", str(tmp_path), "--dry-run", "--json").stdout)
    assert found["parent"] == "is trained first" and found["training_epochs"]["parent"] == 20
    assert found["splits"] == {"search": "300 of train", "select": "300 of train", "test": "600 of train"}
    assert found["evaluations"]["search"] == 65 and list(tmp_path.iterdir()) == []
    assert call("validate", "digits_noisy").exit_code == 0


def test_a_parent_may_be_trained_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(find_problem("digits_noisy").read_text())
    result = call("train-parent", "mine.yaml", "--set", "parent.train.epochs=2")
    assert result.exit_code == 0, result.stderr
    quiet = call("train-parent", "mine.yaml", "--set", "parent.train.epochs=2", "--retrain", "--quiet")
    assert quiet.stdout == result.stdout.splitlines(keepends=True)[-1]
    said, last = result.stdout.splitlines()[0], result.stdout.splitlines()[-1]
    assert said == "training a parent for 2 epochs in runs/digits_noisy-parent"
    assert last.startswith("parents/digits.safetensors: a parent of 2 epochs, accuracy ")
    found = json.loads(call("run", "mine.yaml", "--dry-run", "--json").stdout)
    assert found["parent"] == "parents/digits.safetensors" and found["training_epochs"]["parent"] == 0
    wrong = call("run", "mine.yaml", "--set", "parent.network=lenet-s")
    assert wrong.exit_code == 2
    assert "--set parent.network=lenet-s: expected mlp, as the parent parents/digits.safetensors is" in wrong.stderr
    wide = call("run", "mine.yaml", "--set", "parent.arguments.hidden=[8]")
    assert wide.exit_code == 2 and "found others: layers.0.weight: expected (8, 64), found (256, 64)" in wide.stderr
