from __future__ import annotations

import imagehash
import numpy as np
import pytest
import torch
from PIL import Image
from scipy.spatial.distance import cosine
from scipy.stats import entropy
from torch import Tensor, nn

from evoens.diversity.distances import OF_OUTPUTS, mean_to_others, of_saliency
from evoens.diversity.saliency import COPIES, SIGMA, coloured, greedy_actions, noisy_copies, view


def outputs(k: int = 4) -> Tensor:
    return torch.softmax(3 * torch.randn(k, 7, 5, generator=torch.Generator().manual_seed(0)), -1)


def member(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5)).eval()


def frames() -> Tensor:
    coarse = torch.rand(3, 3, 4, 4, generator=torch.Generator().manual_seed(5)) * 255
    return nn.functional.interpolate(coarse, 16, mode="bilinear").byte()


@pytest.mark.parametrize("name", OF_OUTPUTS)
def test_symmetric_zero_to_oneself_and_whatever_the_order(name: str) -> None:
    p, order = outputs(), torch.tensor([2, 0, 3, 1])
    found = OF_OUTPUTS[name](p)
    assert torch.allclose(found, found.T) and torch.allclose(found.diagonal(), torch.zeros(4).double(), atol=1e-9)
    assert torch.allclose(OF_OUTPUTS[name](p[order]), found[order][:, order])
    assert float(found[0, 1]) > 0


def test_each_is_scipy_s_or_numpy_s() -> None:
    a, b = outputs(2).double().numpy()
    expected = {
        "kl": np.mean((entropy(a, b, axis=-1) + entropy(b, a, axis=-1)) / 2),
        "disagreement": np.mean(a.argmax(-1) != b.argmax(-1)),
        "correlation": np.mean([1 - np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]),
        "cosine": np.mean([cosine(x, y) for x, y in zip(a, b, strict=True)]),
    }
    for name, value in expected.items():
        assert float(OF_OUTPUTS[name](outputs(2))[0, 1]) == pytest.approx(value, abs=1e-6)


def test_of_saliency_is_imagehash_s_distance_between_painted_maps() -> None:
    members = [member(0), member(1)]
    copies = noisy_copies(frames(), COPIES, SIGMA, 2 * 9)
    painted = [coloured(view(m, copies, greedy_actions(m, frames())).maps) for m in members]
    pairs = zip(*painted, strict=True)
    apart = [imagehash.phash(Image.fromarray(a)) - imagehash.phash(Image.fromarray(b)) for a, b in pairs]
    found = of_saliency(iter(members), frames(), 9, "perceptual")
    assert float(found[0, 1]) == pytest.approx(np.mean(apart) / 64) and found.diagonal().tolist() == [0, 0]


def test_mean_to_others_leaves_oneself_out() -> None:
    distances = torch.tensor([[0.0, 1.0, 3.0], [1.0, 0.0, 2.0], [3.0, 2.0, 0.0]])
    assert mean_to_others(distances).tolist() == [2.0, 1.5, 2.5]
    assert mean_to_others(torch.zeros(1, 1)).tolist() == [0.0]
