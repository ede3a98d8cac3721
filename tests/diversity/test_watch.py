from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import Tensor, nn

from evoens.diversity.saliency import COPIES, SIGMA, greedy_actions, noisy_copies, view
from evoens.diversity.watch import watch, watch_answers
from evoens.errors import ShapeError

NAMES = ["kl", "disagreement", "average", "perceptual", "difference", "wavelet", "colour"]


def member(sigma: float = 0.0, seed: int = 0) -> nn.Module:
    """A small convolutional policy; `sigma` moves it away from the common one."""
    module = nn.Sequential(nn.Conv2d(3, 4, 5, stride=2), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 14 * 14, 5))
    common, own = torch.Generator().manual_seed(0), torch.Generator().manual_seed(seed)
    for weight in module.parameters():
        noise = torch.randn(weight.shape, generator=common) * 0.02
        weight.data = noise + sigma * torch.randn(weight.shape, generator=own)
    return module.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def probe() -> Tensor:
    coarse = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(3)) * 255
    return nn.functional.interpolate(coarse, 32, mode="bilinear").byte()


def test_equal_members_differ_as_one_member_from_itself(probe: Tensor) -> None:
    measures = watch([member() for _ in range(3)], probe, 0).measures
    assert list(measures) == NAMES
    assert all(m.value == pytest.approx(m.floor) for m in measures.values())
    assert measures["kl"].floor > 0 and measures["perceptual"].floor > 0


def test_different_members_stand_above_the_floor(probe: Tensor) -> None:
    near, far = (watch([member(s, i) for i in range(4)], probe, 0).measures for s in (0.002, 0.02))
    for name in ("kl", "average", "perceptual", "difference", "wavelet"):
        assert far[name].value > 1.5 * far[name].floor
        assert far[name].value > near[name].value


def test_value_and_floor_cross_the_two_draws(probe: Tensor) -> None:
    members = [member(0.01, i) for i in range(3)]
    seen = []
    for draw in range(2):
        copies = noisy_copies(probe, COPIES, SIGMA, 2 * 7 + draw)
        seen.append([view(m, copies, greedy_actions(m, probe)).outputs.double().numpy() for m in members])
    kl = np.array([[entropy(a, b, axis=-1).mean() for b in seen[1]] for a in seen[0]])
    got = watch(members, probe, 7).measures["kl"]
    assert got.floor == pytest.approx(np.trace(kl) / 3, rel=1e-3)
    assert got.value == pytest.approx((kl.sum() - np.trace(kl)) / 6, rel=1e-3)


def test_one_module_may_carry_all_members_in_turn(probe: Tensor) -> None:
    members = [member(0.01, i) for i in range(3)]

    def reloaded() -> Iterator[nn.Module]:
        module = member()
        for other in members:
            module.load_state_dict(other.state_dict())
            yield module

    a, b = watch(members, probe, 1), watch(reloaded(), probe, 1)
    assert a.to_json() == b.to_json() and np.array_equal(a.picture, b.picture)


def test_the_parent_is_shown_but_not_counted(probe: Tensor) -> None:
    members = [member(0.01, i) for i in range(2)]
    without, with_parent = watch(members, probe, 1), watch(members, probe, 1, parent=member())
    assert without.to_json() == with_parent.to_json()
    assert with_parent.picture.shape[0] > without.picture.shape[0]


def test_the_same_seed_gives_the_same_numbers(probe: Tensor) -> None:
    members = [member(0.01, i) for i in range(2)]
    assert (
        watch(members, probe, 1).to_json() == watch(members, probe, 1).to_json() != watch(members, probe, 2).to_json()
    )


def test_a_lone_member_differs_from_nobody(probe: Tensor) -> None:
    measures = watch([member()], probe, 0).measures
    assert all(m.value == 0 for m in measures.values()) and measures["kl"].floor > 0


def test_somebody_must_be_there(probe: Tensor) -> None:
    with pytest.raises(ShapeError, match="at least one member"):
        watch([], probe, 0)


def test_answers_alone_are_watched_as_they_are_beside_the_maps(probe: Tensor) -> None:
    members = [member(0.05, seed) for seed in (1, 2, 3)]
    whole, answers = watch(members, probe, 7), watch_answers(members, probe, 7)
    assert list(answers.measures) == ["kl", "disagreement"] and answers.picture is None
    for name, measure in answers.measures.items():
        assert measure.value == pytest.approx(whole.measures[name].value, rel=1e-5)
        assert measure.floor == pytest.approx(whole.measures[name].floor, rel=1e-5)
