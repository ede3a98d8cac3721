"""Run a classifier's training in a folder: a checkpoint after every epoch, and on to the same bits after a stop."""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from evoens.progress import OnProgress, Progress
from evoens.storage.checkpoint import CheckpointStore, RunLock, filled, require_same
from evoens.storage.json_file import as_written
from evoens.tasks.sgd import Training


def machine() -> dict[str, Any]:
    """Return what, besides settings and seed, decides the bits of a training."""
    return {
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def fit(
    make: Callable[[str | None], Training],
    identity: Mapping[str, Any],
    folder: Path,
    on_progress: OnProgress,
    force: bool = False,
    *,
    on_epoch: Callable[[Training], None] = lambda _: None,
) -> Training:
    """Train to the end in `folder`, or go on from its newest intact checkpoint.

    Args:
        make: the training at its beginning; told the precision of the checkpoint, None where there is none.
        identity: what must be the same for a checkpoint to be gone on with.
        folder: for checkpoints, TensorBoard (`tb`) and the lock.
        on_progress: told after every step.
        force: warn, do not refuse, where the identity differs.
        on_epoch: called after every epoch, before its checkpoint is written: maybe once more, if the process dies then.

    Raises:
        CheckpointError: another process uses the folder, or its checkpoint does not belong to these settings.
    """
    own: dict[str, Any] = json.loads(json.dumps(identity))  # tuples come back as lists
    store = CheckpointStore(folder / "checkpoints", keep=1)
    with RunLock(folder):
        saved, skipped = store.latest()
        precision = None
        if saved is not None:
            with as_written(store.folder, "the state of a training"):
                known, told = filled(own, saved.state["identity"])
                skipped += [*told, *require_same(own, known, folder, force)]
                precision = saved.state["precision"]
        for sentence in skipped:
            warnings.warn(sentence, stacklevel=2)
        training = make(precision)
        if saved is not None:
            with as_written(store.folder, "the state of a training"):
                training.restore(saved.state, saved.tensors)
        if training.finished:
            return training
        with SummaryWriter(folder / "tb", purge_step=training.epochs + 1) as writer:
            on_step = _ticker(training, on_progress)
            while not training.finished:
                row = training.epoch(on_step)
                on_epoch(training)
                state, tensors = training.checkpoint()
                store.save(training.epochs, {"identity": own, "precision": training.precision, **state}, tensors)
                for name, value in row.items():
                    writer.add_scalar(f"training/{name}", value, training.epochs)
                writer.flush()
    return training


def _ticker(training: Training, on_progress: OnProgress) -> Callable[[int], None]:
    began, first = time.monotonic(), training.epochs * training.steps_per_epoch
    total = training.steps_per_epoch * training.settings.epochs

    def tell(done: int) -> None:
        """Say how far it has come, and what the last whole epoch reached."""
        speed = (done - first) / max(time.monotonic() - began, 1e-9)
        reached = ""
        if training.curve:
            reached = "loss {loss:.3f}, accuracy {accuracy:.1%}".format(**training.curve[-1])
        on_progress(Progress(done, total, speed, (total - done) / speed, reached))

    return tell
