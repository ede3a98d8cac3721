from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evoens.diversity.landscape import around, through
from evoens.errors import ShapeError


def weights(seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return dict(nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(3, 2)).state_dict())


def flat(own: dict[str, Tensor]) -> np.ndarray:
    return np.concatenate([w.double().numpy().ravel() for w in own.values() if w.is_floating_point()])


def test_the_plane_goes_through_its_three_networks() -> None:
    three = [weights(seed) for seed in range(3)]
    plane = through(*three)
    for own, (x, y) in zip(three, plane.networks, strict=True):
        assert flat(plane.at(x, y)) == pytest.approx(flat(own), abs=1e-5)
    assert plane.networks[0] == (0, 0) and plane.networks[1][1] == 0 and plane.networks[2][1] > 0


def test_distances_on_the_plane_are_those_of_the_weights() -> None:
    three = [weights(seed) for seed in range(3)]
    places = np.array(through(*three).networks)
    for i, j in ((0, 1), (0, 2), (1, 2)):
        apart = np.linalg.norm(flat(three[i]) - flat(three[j]))
        assert np.linalg.norm(places[i] - places[j]) == pytest.approx(apart, rel=1e-5)


def test_three_on_a_line_span_no_plane() -> None:
    a, b = weights(0), weights(1)
    middle = {name: (a[name] + b[name]) / 2 if a[name].is_floating_point() else a[name] for name in a}
    for three in ((a, b, middle), (a, a, b)):
        with pytest.raises(ShapeError, match="not on one line"):
            through(*three)
    with pytest.raises(ShapeError, match="of one shape"):
        through(a, b, {"0.weight": a["0.weight"]})


def test_a_direction_has_the_length_of_each_filter() -> None:
    own = weights(0)
    plane = around(own, seed=3)
    for direction in (plane.first, plane.second):
        for name in ("0.weight", "3.weight"):
            expected = own[name].flatten(1).norm(dim=1)
            assert torch.allclose(direction[name].flatten(1).norm(dim=1), expected, rtol=1e-5)
        assert not any(direction[name].any() for name in ("0.bias", "1.weight", "1.running_mean", "3.bias"))
    assert not torch.allclose(plane.first["0.weight"], plane.second["0.weight"])
    assert torch.equal(around(own, seed=3).first["0.weight"], plane.first["0.weight"])
    assert not torch.equal(around(own, seed=4).first["0.weight"], plane.first["0.weight"])


def test_at_the_origin_nothing_has_moved() -> None:
    own = weights(0)
    there = around(own, seed=3).at(0, 0)
    assert there.keys() == own.keys() and all(torch.equal(there[name], own[name]) for name in own)
