"""What a brought-along parent has learnt on is asked; where nobody knows, everything that is shown says so."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import own_classifier
import pytest
from PIL import Image
from typer.testing import CliRunner

from evoens.cli import app
from evoens.config.yaml_file import read_yaml
from evoens.errors import CheckpointError
from evoens.settings.classification import ClassificationConfig
from evoens.tasks import open_task
from evoens.tasks.classification_task import ClassificationTask
from evoens.tasks.classifier_checks import classifier_faults

pytestmark = pytest.mark.usefixtures("one_thread")
WORDS = "may have been seen in training"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    own_classifier.write_own(tmp_path)
    return tmp_path


def config(folder: Path, learnt_on: object = None, **problem: Any) -> ClassificationConfig:
    value = read_yaml(folder / "own.yaml").value
    value["parent"] = {**value["parent"], "learnt_on": learnt_on}
    value["problem"] = {**value["problem"], **problem}
    return ClassificationConfig.model_validate(value)


def loaded(folder: Path, learnt_on: object = None, **problem: Any) -> ClassificationTask:
    task = open_task(config(folder, learnt_on, **problem), folder)
    assert isinstance(task, ClassificationTask)
    task.load(folder / "weights.pt")
    return task


def faults(folder: Path, learnt_on: object = None, retrain: bool = False, **problem: Any) -> list[str]:
    found = classifier_faults(config(folder, learnt_on, **problem), folder, retrain)
    return [f"{'.'.join(map(str, fault.keys))}: {fault.message}" for fault in found]


@pytest.mark.parametrize("learnt_on", [None, "unknown"])
def test_where_nobody_knows_it_is_said(folder: Path, learnt_on: str | None) -> None:
    assert faults(folder, learnt_on) == []
    task = loaded(folder, learnt_on)
    assert task.unsure == WORDS
    parent, _ = task.load(folder / "weights.pt")
    sentences = task.cautions(task.problem(parent))
    advice = "; parent.learnt_on says what it has learnt on" if learnt_on is None else ""
    assert sentences == [f"what the parent is measured on {WORDS}{advice}"]


def test_train_is_what_the_data_call_so(folder: Path) -> None:
    found = faults(folder, "train")
    assert [line.split(": ")[0] for line in found] == [
        f"problem.splits.{name}.from" for name in ("search", "select", "test")
    ]
    assert "expected images that the parent has not learnt on, found train" in found[0]
    assert all(line.startswith("parent.checkpoint") for line in faults(folder, "train", retrain=True))  # it is not used
    cuts = {name: {"from": "test", "count": 0.3} for name in ("search", "select", "test")}
    assert faults(folder, "train", splits=cuts) == []
    shutil.copytree(folder / "images", folder / "both" / "Training")
    own_classifier.write_images(folder / "both" / "Testing")
    assert loaded(folder, "train", data="both", splits=cuts).unsure == ""


def test_folders_arrays_and_lists_are_compared_by_their_pixels(folder: Path) -> None:
    other, same = folder / "other", folder / "same"
    for path in (other, same):
        path.mkdir()
    images, labels = own_classifier.pictures(20, seed=3)
    for number, image in enumerate(images):
        Image.fromarray(image).save(other / f"{number}.bmp")
    (other / "notes.txt").write_text("")
    Image.new("RGB", (90, 40)).save(other / "larger.png")
    assert loaded(folder, "other").unsure == "" and loaded(folder, ("other",)).unsure == ""
    assert loaded(folder, ()).unsure == ""  # on none of the data
    task = loaded(folder)
    tested = task.data.splits["test"].all()
    for number in (0, 7):
        Image.fromarray(tested[number].permute(1, 2, 0).numpy()).save(same / f"another-name-{number}.tif")
    for learnt_on in ("same", ("other", "same")):
        with pytest.raises(
            CheckpointError, match=r"no image of search, select and test in .*same, found 2 of test$"
        ) as error:
            loaded(folder, learnt_on)
        assert error.value.keys == ("parent", "learnt_on")
    np.savez(folder / "learnt.npz", x=np.concatenate([images, tested[:3].permute(0, 2, 3, 1)]), y=[*labels, 0, 0, 0])
    with pytest.raises(CheckpointError, match="found 3 of test"):
        loaded(folder, "learnt.npz")
    assert faults(folder, "sam") == [
        "parent.learnt_on: expected train, unknown, or where images are, found sam, which is not there"
    ]


def test_equal_pictures_in_two_splits_are_counted(folder: Path) -> None:
    task = loaded(folder, ())
    before = task.cautions(task.problem(task.load(folder / "weights.pt")[0]))
    data = task.data
    files = sorted((folder / "images").rglob("*.png"))
    to, of = (files[int(data.splits[name].places[0])] for name in ("test", "search"))
    shutil.copyfile(of, to)
    task = loaded(folder, ())
    sentences = task.cautions(task.problem(task.load(folder / "weights.pt")[0]))
    assert before == [] and sentences == ["images with the pixels of one in another split: 1 of test"]


def test_verdict_tables_page_and_list_say_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    yaml = Path("own.yaml").read_text()
    said = {}
    for name, line in (("doubt", ""), ("sure", "  learnt_on: []\n")):
        Path(f"{name}.yaml").write_text(yaml.replace("  checkpoint: weights.pt\n", f"  checkpoint: weights.pt\n{line}"))
        result = CliRunner().invoke(app, ["run", f"{name}.yaml", "--name", name])
        assert result.exit_code == 0, result.output
        page = Path(f"runs/{name}/report.html").read_text()
        report = json.loads(Path(f"runs/{name}/report.json").read_text())
        captions = re.findall(r"<caption.*?</caption>", page, re.DOTALL)
        said[name] = (
            report["verdict"],
            report["unsure"],
            " ".join(result.output.split()),
            sum(WORDS in caption for caption in captions),
            any(WORDS in warning for warning in report["warnings"]),
        )
    verdict, unsure, console, captions, warned = said["doubt"]
    assert verdict.startswith(f"On 30 cases, which {WORDS}, the ensemble") and unsure == WORDS and warned
    assert f"on cases that neither search nor selection saw, but {WORDS} [95 % interval]" in console and captions >= 4
    assert console.count(f"warning: what the parent is measured on {WORDS}") == 1
    verdict, unsure, console, captions, warned = said["sure"]
    assert verdict.startswith("On 30 unseen cases the ensemble") and unsure == "" and captions == 0 and not warned
    assert WORDS not in console
    listed = " ".join(CliRunner().invoke(app, ["list"]).stdout.split())
    assert listed.count(WORDS) == 1


def test_the_readmes_recipe_measures_on_photos_that_were_held_back(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    (recipe,) = (block for block in re.findall(r"```yaml\n(.*?)```", readme, re.DOTALL) if "data: photos" in block)
    Path("mine.yaml").write_text(recipe)
    shutil.copytree("images", "photos/train")
    own_classifier.write_images(Path("photos/test"), each=20)
    result = CliRunner().invoke(app, ["validate", "mine.yaml", "--data"])
    assert result.exit_code == 0, result.output
    assert "photos, train: 120 images 3×64×64" in result.output and "photos, test: 60 images" in result.output
    Path("mine.yaml").write_text(recipe.replace("test: {from: test}", "test: {from: train, count: 0.2}"))
    result = CliRunner().invoke(app, ["validate", "mine.yaml"])
    assert (
        result.exit_code == 2 and "problem.splits.test.from: expected images that the parent has not" in result.output
    )
