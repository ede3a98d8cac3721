"""Precision is a setting: a run has the same bits whatever the clock says, and an older run goes on as it began."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import TinyFrames, config, execute

from evoens.errors import CheckpointError
from evoens.evaluation import planning
from evoens.evaluation.plan import Plan, Runner
from evoens.problem import Split
from evoens.report import listeners
from evoens.storage.checkpoint import CheckpointStore


@pytest.fixture(autouse=True)
def _two_threads_and_no_page(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(listeners, "write_report", lambda folder: folder / "report.html")
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch, settings: Any = None, plan: Plan | None = None) -> None:
    """Leave a run in its second generation."""
    calls = itertools.count()

    def before(split: Split) -> None:
        if next(calls) == 9:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        if plan:
            patch.setattr("evoens.evaluation.evaluator.quickest", lambda *_: plan)
        execute(folder, settings, problem=TinyFrames(before=before))


def as_before_the_setting(folder: Path) -> None:
    """Rewrite the newest checkpoint to what it was when a stopwatch chose the precision."""
    store = CheckpointStore(folder / "checkpoints")
    saved, _ = store.latest()
    assert saved is not None
    del saved.state["identity"]["config"]["evaluation"]
    store.save(saved.step + 1, saved.state, saved.tensors)


def test_the_clock_changes_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, found = planning._seconds, []
    favoured: list[Callable[[Runner], bool]] = [
        lambda room: room.plan.children == 1,
        lambda room: room.plan.children > 1,
    ]
    for place, quick in enumerate(favoured):

        def measured(room: Runner, inputs: Any, quick: Callable[[Runner], bool] = quick) -> float:
            plain(room, inputs)
            return 1e-5 if quick(room) else 2e-5

        monkeypatch.setattr(planning, "_seconds", measured)
        run, _ = execute(tmp_path / str(place), config(strategy={"sigma": "auto"}))
        found.append(
            (
                run.journal.state.population,
                run.journal.state.selection,
                run.journal.state.sigma,
                run.journal.ledger.tensors(),
            )
        )
    (*ours, these), (*theirs, those) = found
    assert ours == theirs
    assert these.keys() == those.keys() and all(torch.equal(these[key], those[key]) for key in these)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_children_run_in_the_precision_of_the_settings(tmp_path: Path, precision: str) -> None:
    run, _ = execute(tmp_path, config(evaluation={"precision": precision}))
    assert run.journal.state.plan is not None and run.journal.state.plan["precision"] == precision


def test_a_run_older_than_the_setting_goes_on_in_its_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(precision="bfloat16")
    interrupted(tmp_path, monkeypatch, plan=plan)
    as_before_the_setting(tmp_path)
    run, listener = execute(tmp_path)
    assert Plan.from_json(run.journal.state.plan) == plan and run.journal.state.finished
    (warning,) = [text for text in listener.warnings if text.startswith("evaluation.precision")]
    assert "goes on in bfloat16; a new one would be in float32" in warning and warning in run.journal.state.warnings


def test_an_older_run_in_the_same_precision_goes_on_without_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted(tmp_path, monkeypatch)
    as_before_the_setting(tmp_path)
    _, listener = execute(tmp_path)
    assert [text for text in listener.warnings if "evaluation" in text] == []


def test_another_precision_is_refused_and_other_bounds_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted(tmp_path, monkeypatch)
    says = r"config\.evaluation\.precision: expected 'float32' \(in the checkpoint\), found 'bfloat16'"
    with pytest.raises(CheckpointError, match=says):
        execute(tmp_path, config(evaluation={"precision": "bfloat16"}))
    run, _ = execute(tmp_path, config(evaluation={"timeout": 60.0, "memory": 1.0}))
    assert run.journal.state.finished
    again, _ = execute(tmp_path, config(evaluation={"precision": "bfloat16"}), force=True)
    assert again.journal.state.plan is not None and again.journal.state.plan["precision"] == "bfloat16"
