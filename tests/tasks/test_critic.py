"""The value head by least-squares temporal differences, on cases worked by hand."""

from __future__ import annotations

import pytest
import torch

from evoens.tasks.critic import least_squares_values


def test_the_trace_ends_with_the_episode() -> None:
    """Two episodes of one step, in one state: its value is the mean of their rewards, to which both count alike."""
    ones = torch.ones(3, 1, 1)
    weight, bias = least_squares_values(ones, torch.tensor([[1.0], [3.0]]), torch.ones(3, 1), 0.9, 0.8, ridge=1e-9)
    assert float(weight[0] + bias) == pytest.approx(2.0, abs=1e-6)
