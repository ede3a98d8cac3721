"""The door for tasks: one file outside the package is a task like any other, its mistakes named where they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner, Result

from evoens import load_ensemble
from evoens.cli import app
from evoens.config.load import load
from evoens.errors import ConfigError, ShapeError
from evoens.settings.classification import ClassificationConfig
from evoens.settings.procgen import ProcgenConfig
from evoens.tasks import TYPES, task_type

TASK = '''
import random
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from evoens.architecture import Architecture
from evoens.parent import Parent
from evoens.plugins.own_code import read_code
from evoens.problem import Evaluation, EnsembleObjective, Measure, Problem, Split
from evoens.settings.base import Natural, ProblemSettings
from evoens.settings.config import Config
from evoens.settings.fault import Fault
from evoens.tasks.task import Task

FIRST = {"search": 0, "select": 1000, "test": 2000}


class SignSettings(ProblemSettings):
    width: Natural = 5
    cases: Natural
    rule: str = "sum"


class SignConfig(Config):
    problem: SignSettings


class Network(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.last = nn.Linear(width, 2)

    def forward(self, x):
        return self.last(x)


class Sign(Problem):
    """Whether numbers add up to more than 0."""

    measures = (Measure("right", "right", "right answers"),)

    def __init__(self, parent, settings):
        self.parent, self.settings = parent, settings

    def inputs(self, split):
        generator = torch.Generator().manual_seed(FIRST[split.name])
        return torch.randn(self.settings.cases, self.settings.width, generator=generator)[split.first :][: split.count]

    def split(self, name):
        return Split(name, 0, self.settings.cases)

    def cases(self, split):
        inputs = self.inputs(split)
        outputs = yield inputs
        return Evaluation((outputs.argmax(-1) == self.right(inputs)).double(), len(outputs))

    def right(self, inputs):
        return (inputs.sum(1) > 0).long()

    def probe(self, n=8):
        return self.inputs(Split("search", 0, n))

    def judgement(self, evaluations):
        inputs = self.inputs(self.split("select"))
        right = self.right(inputs)[:, None]
        return EnsembleObjective(inputs, lambda outputs: float(outputs.gather(1, right).log().mean()))


class SignTask(Task):
    settings = SignConfig

    @classmethod
    def faults(cls, config, base, *, retrain, parent):
        if config.problem.rule != "sum":
            yield Fault(("problem", "rule"), f"expected sum, found {config.problem.rule}")

    @classmethod
    def estimate(cls, config, card, stages):
        return {"cases": config.problem.cases * sum(children for children, _, _ in stages.values())}

    def untrained(self):
        arguments = {"width": self.config.problem.width}
        architecture = Architecture.of(read_code(Path(__file__)), "Network", arguments)
        return Parent(architecture.build(), architecture)

    def problem(self, parent):
        return Sign(parent, self.config.problem)
'''
PAIR = """
from pathlib import Path

import torch
from sign import Network, Sign, SignTask

from evoens.architecture import Architecture
from evoens.parent import Parent
from evoens.plugins.own_code import read_code


class Pair(Network):
    def forward(self, x, flipped):
        return super().forward(x * (1 - 2 * flipped[:, None]))


class Flipped(Sign):
    def inputs(self, split):
        x = super().inputs(split)
        return x, torch.arange(len(x)) % 2

    def right(self, inputs):
        return super().right(inputs[0] * (1 - 2 * inputs[1][:, None]))


class PairTask(SignTask):
    def untrained(self):
        arguments = {"width": self.config.problem.width}
        architecture = Architecture.of(read_code(Path(__file__)), "Pair", arguments)
        return Parent(architecture.build(), architecture)

    def problem(self, parent):
        return Flipped(parent, self.config.problem)
"""
YAML = """\
name: sign
problem:
  type: sign.py:SignTask
  cases: 40
parent:
  checkpoint: sign.pt
strategy:
  class: noisy
  sigma: 0.3
search:
  population: 4
selection:
  size: 2
report:
  bootstrap: 100
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("own").mkdir()
    Path("own/sign.py").write_text(TASK)
    Path("own/sign.yaml").write_text(YAML)
    noise = torch.tensor([[0.3, -0.2, 0.1, 0.3, -0.4]])
    torch.save({"last.weight": torch.cat([noise - 1, 1 - noise]), "last.bias": torch.zeros(2)}, "own/sign.pt")
    return tmp_path


def call(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def test_ours_come_through_the_same_door() -> None:
    assert {name: task_type(name).settings for name in TYPES} == {
        "procgen": ProcgenConfig,
        "classification": ClassificationConfig,
    }


def test_one_file_outside_the_package_is_a_task() -> None:
    assert call("validate", "own/sign.yaml").exit_code == 0
    plan = json.loads(call("run", "own/sign.yaml", "--dry-run", "--json").stdout)
    assert plan["cases"] == 40 * sum(plan["evaluations"].values()) and plan["seconds_a_pass"] > 0
    done = call("run", "own/sign.yaml", "--quiet")
    assert not done.exit_code and "warning" not in done.output, done.output
    assert not call("verify", "runs/sign").exit_code
    report = json.loads(Path("runs/sign/report.json").read_text())
    inputs = torch.randn(40, 5, generator=torch.Generator().manual_seed(2000))
    right = (load_ensemble("runs/sign").predict(inputs).argmax(-1) == (inputs.sum(1) > 0)).double().mean()
    assert report["ensemble"]["test"]["score"] == pytest.approx(float(right)) and right > 0.8


def test_without_pictures_the_watch_measures_answers_only() -> None:
    call("run", "own/sign.yaml", "--quiet")
    (generation,) = json.loads(Path("runs/sign/history.json").read_text())["generations"]
    assert generation["diversity"].keys() == {"kl", "disagreement"}
    inputs = torch.randn(40, 5, generator=torch.Generator().manual_seed(0))[:8]
    answers = load_ensemble("runs/sign").outputs(inputs).argmax(-1)
    expected = {"value": float((answers[0] != answers[1]).double().mean()), "floor": 0.0}
    assert generation["diversity"]["disagreement"] == pytest.approx(expected)
    done = call("diversity", "runs/sign")
    assert done.exit_code == 2 and "expected a problem with pictures" in done.output


def test_without_pictures_children_are_not_chosen_by_what_they_look_at() -> None:
    done = call("run", "own/sign.yaml", "--quiet", "--set=search.diversity=1", "--set=search.diversity_by=average")
    expected = "search.diversity_by: expected one of kl, disagreement"
    assert done.exit_code == 2 and expected in done.output and "the problem has no pictures" in done.output


def test_inputs_may_be_several_tensors_of_any_dtype() -> None:
    Path("own/pair.py").write_text(PAIR)
    Path("own/sign.yaml").write_text(YAML.replace("sign.py:SignTask", "pair.py:PairTask").replace("0.3", "auto"))
    assert "seconds_a_pass" in json.loads(call("run", "own/sign.yaml", "--dry-run", "--json").stdout)
    done = call("run", "own/sign.yaml", "--quiet")
    assert not done.exit_code and "warning" not in done.output, done.output
    assert not call("verify", "runs/sign").exit_code
    x = torch.randn(40, 5, generator=torch.Generator().manual_seed(2000))
    flipped = torch.arange(40) % 2
    answers = load_ensemble("runs/sign").predict((x, flipped)).argmax(-1).bool()
    right = (answers == ((x.sum(1) > 0) ^ flipped.bool())).double().mean()
    report = json.loads(Path("runs/sign/report.json").read_text())
    assert report["ensemble"]["test"]["score"] == pytest.approx(float(right)) and right > 0.8
    with pytest.raises(ShapeError, match=r"found shape \(40, 4\) of float32 and shape \(40,\) of int64"):
        load_ensemble("runs/sign").predict((x[:, :4], flipped))


def test_a_run_does_not_go_on_with_another_task() -> None:
    call("run", "own/sign.yaml", "--quiet")
    Path("own/sign.py").write_text(TASK.replace("> 0)", ">= 0)"))
    done = call("resume", "runs/sign")
    assert done.exit_code == 2 and "files of the task.sign.py" in " ".join(done.output.split())


def test_faults_of_its_settings_have_their_place() -> None:
    Path("own/sign.yaml").write_text(YAML.replace("  cases: 40", "  case: 40\n  width: 0"))
    with pytest.raises(ConfigError) as error:
        load("own/sign.yaml")
    first, second = str(error.value).splitlines()
    assert first.startswith('own/sign.yaml:4:3: problem.case: unknown key; did you mean "cases"?')
    assert second.startswith("own/sign.yaml:5:3: problem.width: expected an integer ≥ 1, found 0")


def test_what_must_be_given_and_has_no_sample_is_missed() -> None:
    Path("own/sign.yaml").write_text(YAML.replace("  cases: 40\n", ""))
    with pytest.raises(ConfigError, match=r"own/sign.yaml:2:1: problem.cases: missing"):
        load("own/sign.yaml")


def test_its_own_checks_are_asked() -> None:
    with pytest.raises(ConfigError, match=r"--set problem.rule=max: expected sum, found max"):
        load("own/sign.yaml", ["problem.rule=max"])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("clasification", 'procgen, classification, path/to/file.py:Class .* mean "classification"'),
        ("sing.py:SignTask", "expected a Python file, found none at own/sing.py"),
        ("sign.py:SignTusk", 'no class SignTusk there; did you mean "SignTask"'),
        ("sign.py:Sign", "expected a subclass of TaskType, found Problem"),
        ("own_tasks.sign:SignTask", "expected one of procgen, classification"),
    ],
)
def test_a_type_that_cannot_be_had_is_named(spec: str, expected: str) -> None:
    Path("own/sign.yaml").write_text(YAML.replace("sign.py:SignTask", spec))
    with pytest.raises(ConfigError, match=rf"own/sign.yaml:3:3: problem.type: .*{expected}") as error:
        load("own/sign.yaml")
    assert len(str(error.value).splitlines()) == 1


def test_a_task_that_trains_none_says_that_the_parent_is_missing() -> None:
    Path("own/sign.pt").unlink()
    done = call("run", "own/sign.yaml", "--quiet")
    assert done.exit_code == 2 and not Path("runs").exists()
    expected = "own/sign.yaml:6:3: parent.checkpoint: sign.pt: expected a parent's weights, found none"
    assert expected in " ".join(done.output.split())
