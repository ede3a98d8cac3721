"""What a run takes, from one pass: counted by hand, but for the clock."""

from __future__ import annotations

import json
import resource
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from evoens.cli import app
from evoens.commands.estimate import stages
from evoens.commands.one_pass import one_pass
from evoens.config.load import load
from evoens.errors import ProblemError

SETS = ["search.population=8", "search.generations=1", "selection.size=2", "trust_region.frames=10"]


def test_images_are_counted_and_their_pass_is_timed() -> None:
    loaded = load("digits_noisy", SETS)
    found = one_pass(loaded, {})
    evaluations = {name: children for name, (children, _, _) in stages(loaded.config).items()}
    assert evaluations == {
        "search": 9,
        "ensembles so far": 1,
        "select": 4,
        "test, parent and best child": 2,
        "test, random children and ensemble": 2,
    }
    # search: 9 on 300; 2 members so far on 300; 4 candidates on 300; test: two, and two of 2 members each, on 600;
    # eight σ of four children on 10
    passes = 9 * 300 + 2 * 300 + 4 * 300 + 2 * 600 + 2 * 2 * 600 + 8 * 4 * 10
    assert found["seconds"] == pytest.approx(found["seconds_a_pass"] * passes, abs=1 + 1e-6 * passes)
    assert 0 < found["seconds_a_pass"] < 1 and 0.1 < found["gigabytes"] < 5


def test_what_children_keep_is_in_the_gigabytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrusage", lambda _: SimpleNamespace(ru_maxrss=0))  # what tests before have taken
    few, many = (
        one_pass(load("digits_noisy", [*SETS, f"parent.network={name}"], retrain=True), {}, retrain=True)["gigabytes"]
        for name in ("mlp", "wrn-28-10")
    )
    assert many - few == pytest.approx(0.146 * (1 + 2 * 2 + 2), rel=0.5)  # 36.5 million weights of 4 bytes


def test_nothing_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="found no CIFAR10, which a dry run does not download"):
        one_pass(load("cifar10_lenet_noisy", [f"data.root={tmp_path}"]), {})
    assert list(tmp_path.iterdir()) == []


OWN = """
import torch
class Net(torch.nn.Module):
    def __init__(self, classes=3):
        super().__init__()
        self.last = torch.nn.Linear(12, classes)
    def forward(self, x):
        {before}
        return self.last(x.flatten(1))
"""


def own_problem(folder: Path, before: str = "pass", classes: int = 3) -> Path:
    """A classifier of one's own with weights of its own, on random images of two by two."""
    rng = np.random.default_rng(0)
    np.savez(folder / "set.npz", x=rng.integers(0, 256, (40, 2, 2, 3), np.uint8), y=np.arange(40) % 3)
    (folder / "net.py").write_text(OWN.format(before=before))
    save_file({"last.weight": torch.randn(classes, 12), "last.bias": torch.zeros(classes)}, folder / "net.safetensors")
    cuts = ", ".join(f"{name}: {{from: train, count: 10}}" for name in ("search", "select", "test"))
    problem = f"{{type: classification, data: set.npz, splits: {{train: {{from: train}}, {cuts}}}}}"
    parent = "{checkpoint: net.safetensors, network: net.py:Net}"
    path = folder / "own.yaml"
    path.write_text(
        f"name: own\nproblem: {problem}\nparent: {parent}\nstrategy: {{class: noisy}}\nsearch: {{population: 4}}\n"
    )
    return path


@pytest.mark.parametrize(
    ("of", "setting", "why"),
    [
        ({"classes": 4}, "seed=1", "last"),
        ({}, "strategy.scope=lost", "lost"),
        ({"before": "x = x + torch.rand(())"}, "seed=1", "draws when it predicts"),
        ({"before": "x.mul_(2)"}, "seed=1", "writes into its inputs"),
    ],
)
def test_what_a_run_would_refuse_is_refused(tmp_path: Path, of: dict[str, str], setting: str, why: str) -> None:
    yaml, runs = own_problem(tmp_path, **of), tmp_path / "runs"  # type: ignore[arg-type]
    words = ["run", str(yaml), "--set", setting, "--runs", str(runs)]
    dry, real = (CliRunner().invoke(app, [*words, *more]) for more in (["--dry-run"], []))
    assert (dry.exit_code, real.exit_code) == (2, 2) and why in dry.stderr
    assert dry.stderr.splitlines()[-1] == real.stderr.splitlines()[-1]


def test_a_run_that_can_begin_is_measured_and_leaves_nothing(tmp_path: Path) -> None:
    words = ["run", str(own_problem(tmp_path)), "--runs", str(tmp_path / "runs"), "--dry-run", "--json"]
    found = json.loads(CliRunner().invoke(app, words).stdout)
    assert found["seconds_a_pass"] > 0 and not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("side", "network", "why"),
    [
        (100_000, "resnet18", "GB"),  # four images of 3 × 10⁵ × 10⁵ floats are 480 GB already
        (6_000, "resnet50", "min"),  # 4 × 2 · 4.1 G · (6000 / 224)² operations
    ],
)
def test_a_pass_that_is_too_much_is_not_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, side: int, network: str, why: str
) -> None:
    monkeypatch.setattr("evoens.commands.one_pass.machine", lambda: 10**11)
    for name in ("a", "b"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for place in range(20):
            Image.new("RGB", (8, 8)).save(tmp_path / "images" / name / f"{place}.png")
    cuts = ", ".join(f"{name}: {{from: train, count: 10}}" for name in ("search", "select", "test"))
    yaml = tmp_path / "large.yaml"
    problem = f"type: classification, data: images, image_size: {side}, splits: {{train: {{from: train}}, {cuts}}}"
    parent = f"{{checkpoint: new.safetensors, network: torchvision.models:{network}}}"
    yaml.write_text(f"name: large\nproblem: {{{problem}}}\nparent: {parent}\nstrategy: {{class: noisy}}\n")
    monkeypatch.setattr("evoens.commands.one_pass._begun", lambda *_: pytest.fail("tried"))
    found = CliRunner().invoke(app, ["run", str(yaml), "--runs", str(tmp_path / "runs"), "--dry-run", "--json"])
    assert found.exit_code == 0, found.stderr
    assert json.loads(found.stdout)["not measured"].startswith("one pass would take about ")
    assert json.loads(found.stdout)["not measured"].endswith(why)
