"""The benchmark of the noise: complete figures that fit together, on one thread, and the threads put back."""

import json
import time

import pytest
import torch

from evoens import noise
from evoens.bench.noise import describe, measure


def test_the_figures_are_complete_and_threads_are_put_back() -> None:
    threads = torch.get_num_threads()
    result = json.loads(json.dumps(measure(values=1000, rounds=3)))
    assert torch.get_num_threads() == threads
    assert (result["threads"], result["values"], result["rounds"]) == (1, 1000, 3)
    assert result["cpu"] and set(result["versions"]) == {"torch", "numpy"}
    assert min(result[k] for k in ("speedup_vs_randn", "normals_per_second", "randn_per_second")) > 0
    assert f"{result['speedup_vs_randn']:.2f} × (target ≥ 2.5 ×)" in describe(result)


def test_a_draw_twice_as_slow_is_half_as_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock of our own: normals take 1 s, randn 3 s, and both are really called on one thread."""
    clock, calls = [0.0], []

    def drawn(name: str, seconds: float) -> None:
        calls.append((name, torch.get_num_threads()))
        clock[0] += seconds

    monkeypatch.setattr(time, "thread_time", lambda: clock[0])
    monkeypatch.setattr(noise, "normals", lambda *_: drawn("normals", 1.0))
    monkeypatch.setattr(torch, "randn", lambda *_: drawn("randn", 3.0))
    result = measure(values=600, rounds=2)
    assert result["speedup_vs_randn"] == 3
    assert (result["normals_per_second"], result["randn_per_second"]) == (600, 200)
    assert calls == [("normals", 1), ("randn", 1)] * 3


def test_the_description_says_how_the_noise_was_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noise, "compiled", lambda: None)
    assert "streams.c was not built" in describe(measure(values=100, rounds=1))
