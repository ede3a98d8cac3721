"""Parent and ensemble on what the parent has learnt on: measured once, and told beside the test cases."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from tiny_run import TinyFrames, config, experiment

from evoens.genome import Genome
from evoens.methods.base import Evolved
from evoens.methods.seen import Seen
from evoens.problem import Split, drive


class Learnt(TinyFrames):
    """The last cases are what it has learnt on; how often they were measured is counted."""

    measured = 0

    def __init__(self, seen: Split | None) -> None:
        super().__init__(before=self.count)
        self.seen = seen

    def count(self, split: Split) -> None:
        self.measured += split.name == "train"


def evolved(problem: TinyFrames) -> Evolved:
    own = experiment(config(), problem)
    members = own.strategy.ask(2, Random(0))
    found = {"members": members, "best": members[0], "unselected": members}
    cpu = torch.device("cpu")
    return Evolved(problem=problem, strategy=own.strategy, config=own.config, device=cpu, **found)  # type: ignore[arg-type]


def no_progress(*_: Any) -> None:
    pass


def test_what_was_learnt_is_measured_once_and_told(tmp_path: Path) -> None:
    split = Split("train", 0, 5)
    problem = Learnt(split)
    own = evolved(problem)
    Seen().fit(own, tmp_path, no_progress)
    fitted = Seen().fit(own, tmp_path, no_progress)
    assert problem.measured == 2 and not fitted.parts  # parent and ensemble, once each
    found = fitted.details({})["seen"]
    expected = {
        name: drive(problem.cases(split), own.ensemble(genomes).predict).cases
        for name, genomes in (("parent", [Genome()]), ("ensemble", own.members))
    }
    for name, cases in expected.items():
        assert found[name]["score"] == pytest.approx(float(cases.mean())) and found[name]["n"] == 5
    less = expected["ensemble"] - expected["parent"]
    assert found["difference"]["score"] == pytest.approx(float(less.mean()))


@pytest.mark.parametrize("problem", [TinyFrames(), Learnt(None)])
def test_where_nothing_is_asked_for_nothing_is_said(problem: TinyFrames, tmp_path: Path) -> None:
    fitted = Seen().fit(evolved(problem), tmp_path, no_progress)
    assert not fitted.parts and fitted.details({}) == {}
