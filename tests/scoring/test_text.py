"""Lengths of time read as one would say them."""

from __future__ import annotations

import pytest

from evoens.scoring.text import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (99, "99 s"), (99.6, "2 min"), (725, "12 min"), (5999, "1 h 40 min"), (10_980, "3 h 03 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
