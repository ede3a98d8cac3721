"""A run goes on only on the ground that it began on: what has changed is named, exit code 2."""

from __future__ import annotations

import importlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import own_classifier
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from evoens.cli import app
from evoens.evaluation.plan import Plan
from evoens.experiment.identity import ANSWERS
from evoens.machine import environment
from evoens.report import listeners
from evoens.storage.checkpoint import CheckpointStore

pytestmark = pytest.mark.usefixtures("one_thread")

STRATEGY = """
from evoens_strategies.noisy import Noisy
from half import HALF


class Mine(Noisy):
    def perturb(self, name, weight, gene):
        return HALF * super().perturb(name, weight, gene)
"""
FIRST = "images/blue/0000.png"


def call(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def stopped(*_: object) -> None:
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A user's own problem, and its run that was stopped before it chose members."""
    folder = own_classifier.write_own(tmp_path_factory.mktemp("own")).parent
    (folder / "model.py").write_text(
        "from pathlib import Path\nfrom blocks import WIDTH\n"
        "SHIFT = float(Path(__file__).with_name('shift').read_text())\n"
        + own_classifier.MODEL.replace("width=6", "width=WIDTH").replace(".mean((2, 3))", ".mean((2, 3)) + SHIFT")
    )
    (folder / "shift").write_text("0")
    (folder / "blocks.py").write_text("WIDTH = 6\n")
    (folder / "mine.py").write_text(STRATEGY)
    (folder / "half.py").write_text("HALF = 0.5\n")
    own = folder / "own.yaml"
    own.write_text(own.read_text().replace("class: noisy", "class: mine.py:Mine"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("evoens.evaluation.evaluator.quickest", lambda *_: Plan())
        patch.setattr("evoens.experiment.run.settle_members", stopped)
        result = call("run", "own.yaml", "-q")
    assert result.exit_code == 130, result.output
    return folder


@pytest.fixture
def here(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    resolved = tmp_path / "runs/own/config.resolved.yaml"
    resolved.write_text(resolved.read_text().replace(str(begun), str(tmp_path)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("evoens.evaluation.evaluator.quickest", lambda *_: Plan())
    monkeypatch.setattr(listeners, "write_report", lambda folder: folder / "report.html")
    return tmp_path


def one_pixel() -> None:
    with Image.open(FIRST) as image:
        image.putpixel((3, 3), (1, 2, 3))
        image.save(FIRST)


def added(name: str) -> Callable[[], object]:
    return lambda: Path(name).write_text(Path(name).read_text() + "\n# changed\n")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (one_pixel, "data (pixels or labels).search"),
        (lambda: Path(FIRST).rename("images/red/0000.png"), "data (pixels or labels)"),
        (Path(FIRST).unlink, "data (pixels or labels)"),
        (added("model.py"), "files of the network.model.py"),
        (added("blocks.py"), "files of the network.blocks.py"),
        (added("half.py"), "files of the strategy.half.py"),
        (added("mine.py"), "strategy file (sha256)"),
        (lambda: Path("shift").write_text("0.01"), "what the network answers"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_file_that_has_changed_is_named(here: Path, change: Callable[[], object], named: str) -> None:
    change()
    result = call("resume", "runs/own", "-q")
    assert result.exit_code == 2 and f"  {named}" in result.stderr, result.output
    assert result.stderr.startswith("error: runs/own: the run there cannot go on as it began:\n")


def test_a_module_beside_the_networks_own_that_has_changed_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fresh(*args: str) -> Result:
        for name in [name for name in sys.modules if name.startswith("mynets")]:
            monkeypatch.delitem(sys.modules, name)
        importlib.invalidate_caches()
        return call(*args)

    own = own_classifier.write_own(tmp_path)
    own.write_text(own.read_text().replace("model.py:build", "mynets.net:Net\n  arguments: {classes: 3, width: 6}"))
    (tmp_path / "mynets").mkdir()
    blocks = tmp_path / "mynets/blocks.py"
    blocks.write_text("def act(x):\n    return x.relu()\n")
    model = own_classifier.MODEL.replace("self.bn(self.conv(x)).relu()", "act(self.bn(self.conv(x)))")
    (tmp_path / "mynets/net.py").write_text("from mynets.blocks import act\n" + model)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("evoens.evaluation.evaluator.quickest", lambda *_: Plan())
    with monkeypatch.context() as patch:
        patch.setattr("evoens.experiment.run.settle_members", stopped)
        assert fresh("run", "own.yaml", "-q").exit_code == 130
        assert fresh("resume", "runs/own", "-q").exit_code == 130  # it is the same again
    blocks.write_text("def act(x):\n    return x.relu() * 1.01\n")
    result = fresh("resume", "runs/own", "-q")
    assert result.exit_code == 2 and f"  {ANSWERS}" in result.stderr, result.output


def test_another_release_and_another_processor_are_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = environment.version
    monkeypatch.setattr(environment, "version", lambda name: "0.1" if name in ("torchvision", "scipy") else plain(name))
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "NONE")
    result = call("resume", "runs/own", "-q")
    assert result.exit_code == 2
    lines = [line.split(":")[0].strip() for line in result.stderr.splitlines()[1:]]
    assert lines == ["machine.cpu", "versions.scipy", "versions.torchvision"]
    assert f"expected '{plain('torchvision')}' (in the checkpoint), found '0.1'" in result.stderr


def test_what_a_run_of_an_earlier_release_does_not_say_is_told_and_no_hindrance(here: Path) -> None:
    store = CheckpointStore(Path("runs/own/checkpoints"))
    saved, _ = store.latest()
    assert saved is not None
    identity = saved.state["identity"]
    for name in ("data (pixels or labels)", "files of the network", "files of the strategy", ANSWERS, "machine"):
        del identity[name]
    del identity["versions"]["scipy"]
    del identity["config"]["search"]["racing"]
    store.save(saved.step + 1, saved.state, saved.tensors)
    result = call("resume", "runs/own")
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert (
        "may have changed since: data (pixels or labels), files of the strategy, files of the network, machine" in said
    )
    assert "may have changed since: scipy" in said and ANSWERS not in said
    one_pixel()
    assert call("resume", "runs/own").exit_code == 2  # it is kept from now on
