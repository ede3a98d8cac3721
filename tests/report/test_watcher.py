"""Of a large network the members are looked at on fewer pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny_run import CLASSES, FRAME, HIDDEN, TinyFrames, config, execute
from torch import Tensor

from evoens.report import watcher

PASS = 2 * (FRAME[0] * FRAME[1] * FRAME[2] * HIDDEN + HIDDEN * CLASSES)  # two operations for each multiply-add


class Counts(TinyFrames):
    def __init__(self) -> None:
        super().__init__()
        self.looked: list[int] = []

    def pictures(self, n: int = 8) -> Tensor:
        self.looked.append(n)
        return super().pictures(n)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(("allowed", "expected"), [(1e9, 8), (5.5, 5), (0.1, 2)])
def test_a_large_network_is_looked_at_on_fewer_pictures(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed: float, expected: int
) -> None:
    """Three members and the parent, four copies each, there and back twice: 4 · 4 · 6 passes a picture."""
    monkeypatch.setattr(watcher, "EFFORT", allowed * 96 * PASS)
    problem = Counts()
    execute(tmp_path, config(search={"generations": 1}), problem=problem)
    assert problem.looked == [expected]
