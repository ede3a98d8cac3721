"""The plain side of the comparison is the same network on the same data as ours."""

from __future__ import annotations

import torch

from evoens.bench import ppo
from evoens.bench.plain import PlainExtractor, plain_ppo
from evoens.tasks.networks.impala import Impala


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
    text = ppo.describe({**speeds, "precision": "float32", "environment": {"processor": "a processor"}})
    assert "300 steps/s" in text and "3.00 ×" in text and "a processor" in text
