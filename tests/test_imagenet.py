"""The ImageNet experiments, end to end on a small folder of images, with random weights in torchvision's place."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models import get_model
from typer.testing import CliRunner

from evoens.cli import app
from evoens.config.load import load, shipped_problems
from evoens.ensemble import load_ensemble

QUICK = "imagenet_shufflenet_v2_noisy"  # the smallest network; the others take minutes
ALL = [name for name in shipped_problems() if name.startswith("imagenet")]
CLASSES, EACH = ("n01440764", "n01443537", "n01484850"), 12
LESS = {
    **{f"problem.splits.{name}.count": 12 for name in ("search", "select", "test")},
    "search.population": 4,
    "search.elites": 2,
    "selection.size": 2,
    "trust_region.grid": "[0.002, 0.02]",
    "trust_region.frames": 8,
    "report.random_draws": 1,
    "report.bootstrap": 100,
}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs' sizes, upright and lying, one of them grey, in ImageNet's folders."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for label, name in enumerate(CLASSES):
        (folder / "ImageNet" / "val" / name).mkdir(parents=True)
        for place in range(EACH):
            rough = Image.fromarray(rng.integers(60 * label, 60 * label + 120, (6, 5, 3), np.uint8))
            image = rough.resize((300, 260) if place % 2 else (240, 320), Image.Resampling.BICUBIC)
            image.convert("L" if place == 5 else "RGB").save(folder / "ImageNet" / "val" / name / f"{place}.JPEG")
    return folder


@pytest.mark.parametrize(
    "problem", [name if name == QUICK else pytest.param(name, marks=pytest.mark.slow) for name in ALL]
)
def test_the_whole_experiment_on_a_small_folder(
    problem: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVOENS_DATA", str(root))
    monkeypatch.chdir(tmp_path)
    config = load(problem).config
    torch.manual_seed(0)
    name = config.parent.network.rpartition(":")[2]
    network = get_model(name, num_classes=len(CLASSES), **config.parent.arguments)
    torch.save(network.state_dict(), "random.pt")
    settings = {**LESS, "parent.checkpoint": str(tmp_path / "random.pt")}
    done = CliRunner().invoke(app, ["run", problem, *(f"--set={key}={value}" for key, value in settings.items())])
    assert done.exit_code == 0, done.output
    folder = tmp_path / "runs" / problem
    report = json.loads((folder / "report.json").read_text())
    assert report["splits"]["test"] == {"from": "test", "count": 12}
    assert report["ensemble"]["size"] == 2 and report["ensemble"]["rule"] == "top"
    assert report["cost"]["flops"]["ensemble"] > report["cost"]["flops"]["parent"] > 1e8
    inputs = torch.randn(2, 3, config.problem.image_size, config.problem.image_size)
    assert load_ensemble(folder).predict(inputs).sum(1) == pytest.approx(1, abs=1e-5)
