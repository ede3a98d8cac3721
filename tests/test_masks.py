"""From rankings to masks: worked by hand, and against torch's own pruning."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from evoens import noise
from evoens.genome import Mask
from evoens.masks import magnitude, ranked

SCORES = np.array([5, 1, 4, 1, 3, 9, 2])  # ranked: places 1, 3, 6, 4, 2, 0, 5


def kept(*mask: float | int, structure: str = "exact", share: float | None = None) -> list[int]:
    return np.flatnonzero(ranked(SCORES, Mask(0, *mask, structure=structure), (7,), share)).tolist()  # type: ignore[arg-type]


def test_rankings_worked_by_hand() -> None:
    assert kept(3 / 7) == [1, 3, 6]
    assert kept(1 / 7) == [1]  # the first of two equal scores
    assert kept(3 / 7, 2, 1) == [0, 2, 4, 5]
    assert [kept(1 / 3, 3, part) for part in range(3)] == [[1, 3, 6], [2, 4], [0, 5]]
    assert kept(1.0) == list(range(7)) and kept(1.0, 2, 1) == []


def test_a_larger_share_takes_the_nearest_in_the_ranking() -> None:
    assert kept(2 / 7, share=4 / 7) == [1, 3, 4, 6]
    assert kept(5 / 7, 2, 1, share=3 / 7) == [0, 2, 5]  # its own places, and that before them
    assert kept(1 / 3, 3, 1, share=4 / 7) == [0, 2, 4, 5]
    assert kept(1 / 3, 3, 2, share=5 / 7) == [0, 1, 3, 5, 6]  # round to the beginning
    assert kept(1 / 3, 3, 2, share=1.0) == list(range(7))
    assert kept(3 / 7, share=0.1) == kept(3 / 7)


def test_channels_and_twos_of_four_worked_by_hand() -> None:
    channels = ranked(np.array([3, 1, 2]), Mask(0, 2 / 3, structure="channels"), (3, 2))
    assert channels.tolist() == [[False, False], [True, True], [True, True]]
    scores = np.array([[4, 3, 2, 1, 8, 6], [0, 0, 0, 0, 1, 2]])
    assert ranked(scores, Mask(0, structure="2:4"), (2, 6)).astype(int).tolist() == [
        [0, 0, 1, 1, 0, 1],
        [1, 1, 0, 0, 1, 0],
    ]
    assert np.array_equal(
        ranked(scores, Mask(0, 0.5, 2, 1, "2:4"), (2, 6)), ~ranked(scores, Mask(0, structure="2:4"), (2, 6))
    )


@pytest.mark.parametrize("density", [0.02, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("shape", [(40, 30), (16, 6, 5, 5)], ids=str)
def test_by_magnitude_as_torch_prunes(shape: tuple[int, ...], density: float) -> None:
    layer = nn.Linear(30, 40) if len(shape) == 2 else nn.Conv2d(6, 16, 5)
    weight = noise.normals(1, "w", shape)
    layer.weight.data.copy_(weight)
    count = weight.numel() - round(density * weight.numel())
    prune.l1_unstructured(layer, "weight", count)
    for structure in ("unstructured", "exact"):
        mine = magnitude(Mask(0, density, structure=structure), weight)
        assert torch.equal(mine, layer.weight_mask.bool())  # type: ignore[operator]
        anti = magnitude(Mask(0, density, 2, 1, structure), weight)
        assert torch.equal(anti, ~mine)


@pytest.mark.parametrize("density", [0.25, 0.5])
@pytest.mark.parametrize("shape", [(40, 30), (16, 6, 5, 5)], ids=str)
def test_channels_by_their_norm_as_torch_prunes(shape: tuple[int, ...], density: float) -> None:
    layer = nn.Linear(30, 40) if len(shape) == 2 else nn.Conv2d(6, 16, 5)
    weight = noise.normals(1, "w", shape)
    layer.weight.data.copy_(weight)
    prune.ln_structured(layer, "weight", shape[0] - round(density * shape[0]), n=1, dim=0)
    mine = magnitude(Mask(0, density, structure="channels"), weight)
    assert torch.equal(mine, layer.weight_mask.bool())  # type: ignore[operator]


def test_the_two_largest_of_four_are_kept() -> None:
    weight = noise.normals(2, "w", (12, 3, 5, 5))
    mine = magnitude(Mask(0, structure="2:4"), weight).flatten(1)[:, :72].reshape(-1, 4)
    largest = weight.abs().flatten(1)[:, :72].reshape(-1, 4).topk(2).indices
    assert torch.equal(mine, torch.zeros_like(mine).scatter_(1, largest, True))


def test_layout_and_gradients_play_no_part() -> None:
    weight = nn.Parameter(noise.normals(2, "w", (12, 3, 5, 5)).to(memory_format=torch.channels_last))
    plain = weight.detach().contiguous()
    for mask in (Mask(0, 0.3), Mask(0, 0.3, structure="channels"), Mask(0, structure="2:4")):
        assert torch.equal(magnitude(mask, weight), magnitude(mask, plain))
