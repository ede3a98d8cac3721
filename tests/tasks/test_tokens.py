"""The text problem that ships: token ids, an embedding and a transformer, no pictures; run, stopped, resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from evoens import load_ensemble
from evoens.cli import app
from evoens.config.load import build, load
from evoens.listener import GenerationEnd
from evoens.report.console import Reporter

SMALL = [
    "problem.texts=60",
    "parent.train.epochs=4",
    "search.population=4",
    "search.generations=2",
    "selection.size=2",
    "trust_region.grid=[0.05, 0.2]",
    "trust_region.frames=16",
    "report.bootstrap=100",
]


class Stopped(Reporter):
    """Presses Ctrl-C when the first generation is done."""

    def on_generation(self, event: GenerationEnd) -> None:
        raise KeyboardInterrupt


def call(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def told(folder: Path, *keys: str) -> list[object]:
    report = json.loads((folder / "report.json").read_text())
    return [report["ensemble"][key] for key in keys]


def test_a_text_problem_is_stopped_and_goes_on_to_the_same_ensemble(tmp_path: Path) -> None:
    whole, broken = tmp_path / "tokens", tmp_path / "broken"
    done = call("run", "tokens", "--quiet", f"--runs={tmp_path}", *(f"--set={text}" for text in SMALL))
    assert not done.exit_code and "left out" not in done.output and "look at" not in done.output, done.output
    with pytest.raises(KeyboardInterrupt):
        build(load("tokens", SMALL, name="broken"), broken, Stopped(quiet=True)).execute()
    assert not (broken / "report.json").exists()
    assert not call("resume", "broken", "--quiet", f"--runs={tmp_path}").exit_code
    assert told(whole, "members", "test") == told(broken, "members", "test")
    assert not call("verify", str(whole)).exit_code and (whole / "report.html").is_file()
    (score,) = told(whole, "test")
    assert score["score"] == pytest.approx(by_hand(whole))  # type: ignore[index]


def by_hand(folder: Path) -> float:
    """The ensemble's accuracy on the test split, from its texts: rich are those of more different tokens than usual."""
    generator = torch.Generator().manual_seed(3)
    texts = torch.randint(20, (60, 16), generator=generator)
    assert texts.dtype == torch.int64
    different = torch.tensor([len(set(text)) for text in texts.tolist()])
    answers = load_ensemble(folder).predict(texts).argmax(-1).bool()
    return float((answers == (different > different.double().mean())).double().mean())


def test_texts_that_are_in_several_splits_are_said(tmp_path: Path) -> None:
    experiment = build(load("tokens", [*SMALL, "problem.length=1"]), tmp_path, Reporter(quiet=True)).experiment
    (said,) = [sentence for sentence in experiment.cautions if "in another split too" in sentence]
    assert "20 of test" in said  # all different ones that there are


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("problem.lenght=3", 'problem.lenght=3: unknown key; did you mean "length"?'),
        ("problem.tokens=0", "problem.tokens=0: expected an integer ≥ 1, found 0"),
        ("parent.train.epoch=3", 'parent.train.epoch=3: unknown key; did you mean "epochs"?'),
    ],
)
def test_faults_of_its_settings_are_named(setting: str, expected: str) -> None:
    done = call("validate", "tokens", f"--set={setting}")
    assert done.exit_code and expected in done.output
