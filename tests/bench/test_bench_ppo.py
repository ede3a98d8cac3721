"""The plain side of the comparison is the same network on the same data as ours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from evoens.bench import ppo
from evoens.bench.plain import PlainExtractor, plain_ppo
from evoens.tasks.networks.impala import Impala
from evoens.tasks.sb3 import Training


def test_plain_and_ours_compute_the_same_function() -> None:
    settings = ppo.SETTINGS.model_copy(update={"envs": 2, "rollout": 4, "network": (4, 4, 4)})
    model = plain_ppo(settings, ppo.PROBLEM)
    plain, ours = model.policy.features_extractor, Impala(6, settings.network)
    assert isinstance(plain, PlainExtractor)
    theirs = list(plain.state_dict().values())
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs, strict=True)))
    frames = torch.rand(3, 6, 64, 64)
    torch.testing.assert_close(ours(frames), plain(frames))


def test_the_sentence_has_the_figures() -> None:
    speeds = {"steps_per_second": 300.0, "plain_steps_per_second": 100.0, "speedup_vs_plain": 3.0}
    shares = {"speedup_spread": [2.5, 3.25], "fraction_of_network_bound": 0.6, "fraction_spread": [0.5, 0.625]}
    text = ppo.describe({**speeds, **shares, "precision": "float32", "environment": {"processor": "a processor"}})
    assert "300 steps/s" in text and "3.00 × (2.50 to 3.25 in 3 turns)" in text and "a processor" in text
    assert "60% of what the network alone allows (50% to 62%)" in text


def test_sides_take_turns_and_the_middle_one_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {"ours": iter([300.0, 200.0, 450.0]), "plain": iter([100.0, 100.0, 90.0])}
    asked: list[str] = []

    def in_process(side: str) -> dict[str, Any]:
        asked.append(side)
        bound = {"network_bound": 500.0, "precision": "float32"} if side == "ours" else {}
        return {"steps_per_second": next(speeds[side]), **bound}

    monkeypatch.setattr(ppo, "_in_process", in_process)
    found = ppo.measure()
    assert asked == ["ours", "plain"] * 3
    assert found["speedup_vs_plain"] == 3.0 and found["speedup_spread"] == [2.0, 5.0]
    assert found["fraction_of_network_bound"] == 0.6 and found["fraction_spread"] == [0.4, 0.9]


def test_the_bound_counts_a_pass_to_act_and_epochs_there_and_back(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ppo.SETTINGS.model_copy(update={"envs": 2, "rollout": 4, "network": (4, 4, 4), "epochs": 3})
    asked: list[bool] = []

    def seconds(run: Callable[[], object]) -> float:
        run()
        asked.append(torch.is_grad_enabled())
        return 4.0 if torch.is_grad_enabled() else 0.5

    monkeypatch.setattr(ppo, "seconds", seconds)
    policy = Training(settings, ppo.PROBLEM, 0, "float32").model.policy
    assert ppo.network_bound(policy, settings) == pytest.approx(1 / (0.5 / 2 + 3 * 4.0 / 8))
    assert True in asked and False in asked
