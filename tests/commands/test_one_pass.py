"""What a run takes, from one pass: counted by hand, but for the clock."""

from __future__ import annotations

import resource
from pathlib import Path
from types import SimpleNamespace

import pytest

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
        one_pass(load("digits_noisy", [*SETS, f"parent.network={name}"], retrain=True), {})["gigabytes"]
        for name in ("mlp", "wrn-28-10")
    )
    assert many - few == pytest.approx(0.146 * (1 + 2 * 2 + 2), rel=0.5)  # 36.5 million weights of 4 bytes


def test_nothing_is_downloaded(tmp_path: Path) -> None:
    with pytest.raises(ProblemError, match="found no CIFAR10, which a dry run does not download"):
        one_pass(load("cifar10_lenet_noisy", [f"data.root={tmp_path}"]), {})
    assert list(tmp_path.iterdir()) == []
