"""How many inputs a search for σ looks at: what is asked for, else by the size of the network."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_run import FRAME, HIDDEN, Listener, TinyFrames, config, experiment

from evoens.experiment import sigma_search
from evoens.experiment.run import Run
from evoens.experiment.sigma_search import FEWEST, probe
from evoens.report.listeners import standard

WORK = 2 * (48 * HIDDEN + HIDDEN * 3)  # operations of a frame's pass: two for each multiply-add


def run_of(tmp_path: Path, frames: int | None) -> Run:
    settings = config(trust_region={"frames": frames, "children": 2, "grid": (0.1, 0.2, 0.3)})
    problem = TinyFrames()
    return Run(experiment(settings, problem), tmp_path, standard(Listener()))


@pytest.mark.parametrize(
    ("frames", "allowed", "expected"),
    [
        (20, 1, 20),  # what is asked for is done
        (None, 30, 30),
        (None, 1, FEWEST),
        (None, 10**9, 120),  # 256, of which there are 120
    ],
)
def test_a_large_network_is_measured_on_fewer_inputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, frames: int | None, allowed: int, expected: int
) -> None:
    assert FRAME == (3, 4, 4)
    monkeypatch.setattr(sigma_search, "EFFORT", allowed * 2 * 3 * WORK)  # two children at each of three σ
    assert len(probe(run_of(tmp_path, frames).experiment)) == expected
