from __future__ import annotations

import imagehash
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from evoens.diversity.distances import mean_to_others, of_saliency
from evoens.diversity.measures import MEASURES
from evoens.diversity.saliency import COPIES, SIGMA, coloured, greedy_actions, noisy_copies, view


def member(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)).eval()


def frames() -> Tensor:
    coarse = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(5)) * 255
    return nn.functional.interpolate(coarse, 16, mode="bilinear").byte()


def test_of_saliency_is_imagehash_s_distance_between_painted_maps() -> None:
    members = [member(0), member(1)]
    copies = noisy_copies(frames(), COPIES, SIGMA, 2 * 9)
    painted = [coloured(view(m, copies, greedy_actions(m, frames())).maps) for m in members]
    pairs = zip(*painted, strict=True)
    apart = [imagehash.phash(Image.fromarray(a)) - imagehash.phash(Image.fromarray(b)) for a, b in pairs]
    found = of_saliency(iter(members), frames(), 9, MEASURES["perceptual"])
    assert float(found[0, 1]) == pytest.approx(np.mean(apart) / 64) and found.diagonal().tolist() == [0, 0]


def test_mean_to_others_leaves_oneself_out() -> None:
    distances = torch.tensor([[0.0, 1.0, 3.0], [1.0, 0.0, 2.0], [3.0, 2.0, 0.0]])
    assert mean_to_others(distances).tolist() == [2.0, 1.5, 2.5]
    assert mean_to_others(torch.zeros(1, 1)).tolist() == [0.0]
