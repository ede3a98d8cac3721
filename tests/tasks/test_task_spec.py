"""A task opened anew from what travels is the one that it was: settings, parent, cases."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from own_classifier import write_own

from evoens.config.load import load
from evoens.problem import Problem, drive
from evoens.storage.card import find_parent
from evoens.tasks import open_task
from evoens.tasks.task_spec import TaskSpec


def answers(problem: Problem) -> list[torch.Tensor]:
    return [drive(problem.cases(problem.split(name)), problem.parent.predict).cases for name in ("search", "select")]


@pytest.mark.parametrize("kind", ["shipped", "own"])
def test_it_is_the_same_from_another_folder(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load("digits_noisy" if kind == "shipped" else write_own(tmp_path / "own"))
    path = find_parent(loaded.config.parent.checkpoint, loaded.base)
    assert path is not None
    task = open_task(loaded.config, loaded.base)
    parent, _ = task.load(path)
    here = task.problem(parent)
    spec = TaskSpec.of(loaded.config, loaded.base, path).packed()
    assert sum(map(len, spec.files.values())) >= path.stat().st_size
    spec = TaskSpec(json.loads(json.dumps(spec.config)), spec.base, Path("elsewhere", path.name), spec.files)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    there = spec.open()
    assert there.parent.fingerprint == here.parent.fingerprint and there.parent.layout == here.parent.layout
    assert all(torch.equal(one, other) for one, other in zip(answers(here), answers(there), strict=True))
