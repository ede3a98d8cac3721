from __future__ import annotations

import imagehash
import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients, NoiseTunnel, Saliency
from PIL import Image
from torch import Tensor, nn

from evoens.diversity.attribution import METHODS, PATH, Attributions, attribute
from evoens.diversity.saliency import COPIES, SIGMA, coloured, greedy_actions, noisy_copies


def member(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 6 * 6, 5))
    return nn.Sequential(Bytes(), net).eval().requires_grad_(False)


class Bytes(nn.Module):
    def forward(self, frames: Tensor) -> Tensor:
        return frames / 255


def frames(n: int = 3) -> Tensor:
    coarse = torch.rand(n, 3, 4, 4, generator=torch.Generator().manual_seed(5)) * 255
    return nn.functional.interpolate(coarse, 16, mode="bilinear").byte()


def found(method: str, members: int = 3) -> Attributions:
    return attribute([member(i) for i in range(members)], frames(), METHODS[method], seed=1)


def scores(method: str, seed: int) -> list[list[Tensor]]:
    """By draw and member what captum itself says, per range of a pixel's value."""
    by_draw = []
    for draw in range(2):
        copies = noisy_copies(frames(), COPIES, SIGMA, 2 * seed + draw)
        rows = []
        for net in (member(i) for i in range(3)):
            answers = greedy_actions(net, frames())

            def answer(x: Tensor, net: nn.Module = net) -> Tensor:
                return torch.softmax(net(x), -1)

            if method == "saliency":
                rows.append(Saliency(answer).attribute(copies[0].requires_grad_(), answers, abs=False) * 255)
            elif method == "smoothgrad":
                each = [Saliency(answer).attribute(c.requires_grad_(), answers, abs=False) for c in copies.unbind()]
                rows.append(sum(each) / COPIES * 255)
            else:
                rows.append(IntegratedGradients(answer).attribute(copies[0], target=answers, n_steps=PATH).float())
            copies = copies.detach()
        by_draw.append(rows)
    return by_draw


@pytest.mark.parametrize("method", METHODS)
def test_attribution_diversity_is_the_variance_of_captum_s_scores(method: str) -> None:
    a, b = (np.stack([row.detach().numpy() for row in rows]) for rows in scores(method, 1))
    got = found(method)
    assert got.variance.numpy() == pytest.approx(a.astype(float).var(0, ddof=1).sum((1, 2, 3)), rel=1e-4)
    twice = np.stack([a, b]).astype(float).var(0, ddof=1).sum((2, 3, 4))
    assert got.floor.numpy() == pytest.approx(twice.mean(0), rel=1e-4)


def test_rmse_and_bits_are_between_painted_maps() -> None:
    a, b = (torch.stack(rows).detach().abs().sum(2) for rows in scores("smoothgrad", 1))
    got = found("smoothgrad")
    unit = [np.minimum(m / np.quantile(m, 0.99, axis=(-2, -1), keepdims=True), 1) for m in (a.numpy(), b.numpy())]
    expected = np.sqrt(((unit[0][:, None] - unit[1][None]) ** 2).mean((-2, -1)))  # i, j, input
    assert got.rmse.numpy() == pytest.approx(expected.transpose(2, 0, 1), abs=1e-5)
    pictures = [[[Image.fromarray(p) for p in row] for row in coloured(m)] for m in (a, b)]
    apart = [[np.mean([_far(x, y) for x, y in zip(p, q, strict=True)]) for q in pictures[1]] for p in pictures[0]]
    assert got.bits["difference"].numpy() == pytest.approx(np.array(apart))


def _far(x: Image.Image, y: Image.Image) -> float:
    return (imagehash.dhash(x) - imagehash.dhash(y)) / 64


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_members_changes_nothing(method: str) -> None:
    order = [2, 0, 1]
    turned = attribute([member(i) for i in order], frames(), METHODS[method], seed=1)
    assert torch.allclose(turned.variance, found(method).variance)
    assert torch.allclose(turned.rmse, found(method).rmse[:, order][:, :, order], atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_equal_members_are_as_far_apart_as_one_from_itself(method: str) -> None:
    got = attribute([member(0), member(0)], frames(), METHODS[method], seed=1)
    assert torch.equal(got.variance, torch.zeros(3, dtype=torch.float64))
    assert torch.allclose(got.rmse[:, 0, 1], got.rmse[:, 0, 0])
    assert all(torch.allclose(bits, bits[0, 0].expand(2, 2)) for bits in got.bits.values())


def test_a_lone_member_is_no_set() -> None:
    assert torch.equal(found("saliency", members=1).variance, torch.zeros(3, dtype=torch.float64))


def test_captum_s_own_smoothgrad_agrees_where_its_noise_is_ours() -> None:
    """NoiseTunnel draws its own noise, so the two agree as two draws of much noise do: closely, not exactly."""
    net, inputs = member(0), frames()
    answers = greedy_actions(net, inputs)
    torch.manual_seed(0)
    tunnel = NoiseTunnel(Saliency(lambda x: torch.softmax(net(x), -1)))
    theirs = tunnel.attribute(
        inputs.float(), target=answers, nt_type="smoothgrad", nt_samples=64, stdevs=SIGMA, abs=False
    )
    ours = METHODS["smoothgrad"](net, noisy_copies(inputs, 64, SIGMA, 0), answers)
    assert torch.corrcoef(torch.stack([theirs.flatten() * 255, ours.flatten()]))[0, 1] > 0.999
