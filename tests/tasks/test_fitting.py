"""A training in a folder: whatever stops it, it goes on to the same bits; what has changed is named and refused."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fresh import ENVIRONMENT
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn

from evoens.errors import CheckpointError
from evoens.progress import Progress
from evoens.settings.classification import TrainSettings
from evoens.storage.checkpoint import Checkpoint, CheckpointStore, RunLock
from evoens.tasks.data.images import Images
from evoens.tasks.data.preprocessing import Normalise
from evoens.tasks.fitting import fit, machine
from evoens.tasks.sgd import Examples, Training, seeded

EPOCHS, STEPS = 4, 5
SETTINGS = TrainSettings(epochs=EPOCHS, batch=8, optimiser="sgd", learning_rate=0.02, schedule="cosine")


pytestmark = pytest.mark.usefixtures("one_thread")


def make(precision: str | None) -> Training:
    """A network with BatchNorm and dropout, at the beginning."""
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (40, 6, 6, 3), np.uint8)).permute(0, 3, 1, 2)
    images = Images(pixels, torch.arange(40), torch.from_numpy(rng.integers(0, 3, 40)))
    with seeded("weights"):
        layers = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(64, 3)
        module = nn.Sequential(*layers)
    examples = Examples(images, Normalise((0.5,) * 3, (0.3,) * 3), ("crop", "flip"))
    return Training(module, examples, SETTINGS, seed=1, precision=precision or "float32")


def identity(**changes: Any) -> dict[str, Any]:
    return {"train": SETTINGS.model_dump(mode="json"), "hidden": (3, 4), "machine": machine(), **changes}


def train(folder: Path, on_progress: Any = lambda _: None, force: bool = False, **changes: Any) -> Training:
    return fit(make, identity(**changes), folder, on_progress, force)


def newest(folder: Path) -> Checkpoint:
    saved, skipped = CheckpointStore(folder / "checkpoints").latest()
    assert saved is not None and skipped == []
    return saved


def timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k != "seconds"}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def assert_same(found: Path, expected: Path) -> None:
    one, two = newest(found), newest(expected)
    assert one.step == two.step and timeless(one.state) == timeless(two.state)
    assert one.tensors.keys() == two.tensors.keys()
    assert [name for name, value in two.tensors.items() if not torch.equal(value, one.tensors[name])] == []


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    told: list[Progress] = []
    assert train(folder, told.append).finished
    assert [p.steps for p in told] == list(range(1, EPOCHS * STEPS + 1)) and {p.total for p in told} == {20}
    assert told[-1].seconds_left == 0 and told[-1].steps_per_second > 0
    assert told[STEPS - 1].reached == "" and told[STEPS].reached.startswith("loss ")
    return folder


Stop = KeyboardInterrupt


def until(steps: int) -> Any:
    def stop(progress: Progress) -> None:
        if progress.steps == steps:
            raise Stop

    return stop


@pytest.mark.parametrize("stops", [(1,), (STEPS,), (STEPS + 1,), (7, 7, 13, 19), (20,)], ids=str)
def test_stopped_at_any_step_it_goes_on_to_the_same_bits(unbroken: Path, tmp_path: Path, stops: tuple[int]) -> None:
    for steps in stops:
        random.seed(0), np.random.seed(1), torch.manual_seed(2)  # noqa: NPY002
        with pytest.raises(Stop):
            train(tmp_path, until(steps))
        whole = (steps - 1) // STEPS
        assert [path.name for path in (tmp_path / "checkpoints").glob("0*")] == ([f"{whole:08d}"] if whole else [])
    train(tmp_path)
    assert_same(tmp_path, unbroken)


DRIVER = """
import sys; from pathlib import Path
import torch; torch.set_num_threads(1)
import time
from tests.tasks.test_fitting import train
train(Path(sys.argv[1]), lambda p: (print(p.steps, flush=True), time.sleep(0.02)))
"""


def test_killed_it_goes_on_to_the_same_bits(unbroken: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", DRIVER, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) <= STEPS:
            pass
        time.sleep(random.random() * 0.1)
        process.send_signal(signal.SIGKILL)
    assert 1 <= newest(tmp_path).step < EPOCHS
    train(tmp_path)
    assert_same(tmp_path, unbroken)


def test_a_finished_training_is_left_alone(unbroken: Path) -> None:
    before = newest(unbroken)
    told: list[Progress] = []
    train(unbroken, told.append)
    assert told == [] and newest(unbroken).state == before.state


def test_a_damaged_checkpoint_begins_anew_and_says_so(unbroken: Path, tmp_path: Path) -> None:
    shutil.copytree(unbroken, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "checkpoints" / f"{EPOCHS:08d}" / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.warns(UserWarning, match=r"tensors\.safetensors is damaged"):
        train(tmp_path)
    assert_same(tmp_path, unbroken)


def test_what_has_changed_is_named_and_refused_unless_forced(unbroken: Path, tmp_path: Path) -> None:
    with pytest.raises(Stop):
        train(tmp_path, until(STEPS + 2))
    changed = {**identity()["train"], "learning_rate": 0.5}
    with pytest.raises(CheckpointError) as caught:
        train(tmp_path, train=changed, machine={**machine(), "threads": 8})
    lines = str(caught.value).splitlines()[1:]
    assert lines == [
        "  machine.threads: expected 1 (in the checkpoint), found 8",
        "  train.learning_rate: expected 0.02 (in the checkpoint), found 0.5",
    ]
    with pytest.warns(UserWarning, match=r"train\.learning_rate: expected 0\.02 \(in the checkpoint\), found 0\.5"):
        assert train(tmp_path, force=True, train=changed).finished
    assert newest(tmp_path).state["identity"]["train"]["learning_rate"] == 0.5
    train(tmp_path, train=changed)  # that is now how it was trained


def test_the_precision_is_the_checkpoints(tmp_path: Path) -> None:
    def faster(precision: str | None) -> Training:
        return make(precision or "bfloat16")

    with pytest.raises(Stop):
        fit(faster, identity(), tmp_path, until(STEPS + 1))
    assert train(tmp_path).precision == "bfloat16"


def test_one_process_a_folder(unbroken: Path) -> None:
    with RunLock(unbroken), pytest.raises(CheckpointError, match=f"held by process {os.getpid()}"):
        train(unbroken)


def test_tensorboard_has_every_epoch_once(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        train(tmp_path, until(2 * STEPS + 1))
    shutil.rmtree(tmp_path / "checkpoints" / "00000002")  # as if killed between the scalars and the checkpoint
    train(tmp_path)
    events = EventAccumulator(str(tmp_path / "tb")).Reload()
    curve = newest(tmp_path).state["curve"]
    for name in ("loss", "accuracy"):
        scalars = events.Scalars(f"training/{name}")
        assert [event.step for event in scalars] == [1, 2, 3, 4]
        assert [event.value for event in scalars] == pytest.approx([row[name] for row in curve])


def test_a_checkpoint_of_something_else_is_one_line(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    for state in ({}, {"identity": 5}, {"identity": identity()}, {"identity": identity(), "precision": "float32"}):
        store.save(1, state)
        said = r"checkpoints: expected the state of a training, found damage \("
        with pytest.raises(CheckpointError, match=said) as caught:
            train(tmp_path)
        assert len(str(caught.value).splitlines()) == 1
