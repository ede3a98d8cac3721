"""What is measured on a GPU, tried on the CPU with networks small enough for a test."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
import torch

from evoens.bench import gpu

ROOT = Path(__file__).parents[2]
SMALL = (
    gpu.Subject(
        "policy",
        "evoens.tasks.networks.impala:ImpalaPolicy",
        {"widths": [4, 4, 4], "in_channels": 6},
        (6, 64, 64),
        4,
        torch.uint8,
    ),
    gpu.Subject("classifier", "evoens.tasks.networks.lenet:LeNet", {"classes": 10, "width": 1}, batch=8),
)


def test_every_figure_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "ROUNDS", 1)
    monkeypatch.setattr(gpu, "LATE", 4)
    found = json.loads(json.dumps(gpu.measure("cpu", SMALL, 1 << 12)))
    assert all(found["bits"].values()) and found["noise"]["normals_per_second"] > 0
    assert found["policy"].keys() == found["classifier"].keys() - {"late_children_per_second", "late_speedup_vs_loop"}
    for subject in SMALL:
        own = found[subject.name]
        assert own.pop("largest_difference") < 1e-6 and all(figure > 0 for figure in own.values())


@pytest.mark.gpu
def test_the_whole_check_runs_in_six_minutes() -> None:
    done = subprocess.run(
        ["sh", "tests/gpu_check.sh"], cwd=ROOT, check=True, capture_output=True, text=True, timeout=360
    )
    found = json.loads(done.stdout)
    assert all(found["bits"].values())
    assert all(found[subject.name]["largest_difference"] < 1e-4 for subject in gpu.SUBJECTS)
