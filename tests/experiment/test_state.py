"""What a run knows survives JSON to the last bit."""

from __future__ import annotations

import json
from dataclasses import fields
from importlib.metadata import version

import torch

from evoens.experiment.state import RunState
from evoens.machine.environment import environment, versions


def test_state_survives_json() -> None:
    state = RunState(
        step=3,
        seconds=0.1 + 0.2,
        plan={"batching": "loop"},
        sigma=1 / 3,
        strategy={"told": [1, 2]},
        ledger={"search/0+4/ab": {"samples": 4, "beside": [], "error": None}},
        population=[{"key": "a", "fitness": None}],
        warnings=["σ"],
    )
    row = state.to_json()
    assert set(row) == {field.name for field in fields(RunState)}
    assert RunState(**json.loads(json.dumps(row))) == state
    row["population"][0]["key"] = "b"
    assert state.population[0]["key"] == "a"  # a copy, which later changes do not reach


def test_environment_names_versions_and_machine() -> None:
    found = environment()
    assert found["versions"] == versions() and found["versions"]["torch"] == version("torch")
    assert {"evoens", "numpy", "python", "stable-baselines3"} <= set(found["versions"])
    assert found["threads"] == torch.get_num_threads() and found["cores"] >= 1
    assert json.loads(json.dumps(found)) == found
