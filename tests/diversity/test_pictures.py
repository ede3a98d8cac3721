from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from evoens.diversity.pictures import CELL, GAP, LABELS, saliency_strip
from evoens.errors import ShapeError

RED, BLUE = (255, 0, 0), (0, 0, 255)


def cell(strip: np.ndarray, row: int, column: int) -> np.ndarray:
    """Cut one cell out: rows are counted from the bottom, so the caption's height does not matter."""
    rows = strip[len(strip) - (row + 1) * (CELL + GAP) :][:CELL]
    return rows[:, LABELS + column * (CELL + GAP) :][:, :CELL]


def stacked() -> Tensor:
    """Two stacked frames each: an old red one, and the newest, blue."""
    frames = torch.tensor([*RED, *BLUE], dtype=torch.uint8).view(1, 6, 1, 1)
    return frames.expand(3, 6, 16, 16)


def test_rows_are_the_newest_frames_and_then_the_members() -> None:
    maps = torch.zeros(2, 3, 16, 16)
    maps[1, 2, :8, :8] = 1
    strip = saliency_strip(stacked(), maps, ["parent", "member 1"])
    assert strip.dtype == np.uint8 and strip.shape[1:] == (LABELS + 3 * (CELL + GAP), 3)
    for column in range(3):
        assert np.all(cell(strip, 2, column) == BLUE)
        assert cell(strip, 1, column).max() <= 85 / 2 + 1  # blue turned grey and dim
    lit = cell(strip, 0, 2).astype(int).sum(-1)
    assert lit[10, 10] > 600 and lit[-10, -10] < 150 and cell(strip, 0, 1).max() <= 85 / 2 + 1


def test_every_row_has_its_label() -> None:
    strip = saliency_strip(stacked(), torch.zeros(2, 3, 16, 16), ["parent", "member 1"])
    for row in range(3):
        beside = strip[len(strip) - (row + 1) * (CELL + GAP) :][:CELL, :LABELS]
        assert (beside < 128).any() and (beside[:, -1] == 255).all()  # there is ink, and none is cut off


def test_one_channel_is_shown_in_grey() -> None:
    strip = saliency_strip(torch.full((1, 1, 8, 8), 200.0), torch.zeros(1, 1, 8, 8), ["member 1"])
    assert np.all(cell(strip, 1, 0) == 200)


@pytest.mark.parametrize(("maps", "labels"), [((2, 3, 16, 16), ["one"]), ((1, 2, 16, 16), ["one"])])
def test_strip_refuses_what_does_not_fit(maps: tuple[int, ...], labels: list[str]) -> None:
    with pytest.raises(ShapeError, match=r"expected maps \(1, 3, h, w\)"):
        saliency_strip(stacked(), torch.zeros(maps), labels)
