"""The plain network against its description."""

from __future__ import annotations

import pytest
import torch

from evoens.tasks.networks.mlp import MLP


@pytest.mark.parametrize("hidden", [(), (5,), [6, 4, 3]])
def test_computes_its_description_on_images_and_vectors(hidden: tuple[int, ...] | list[int]) -> None:
    torch.manual_seed(0)
    network = MLP(3, 2 * 4 * 4, hidden)
    images = torch.randn(5, 2, 4, 4)
    before, x = images.clone(), images.flatten(1)
    weights = list(network.state_dict().values())
    for place in range(0, len(weights), 2):
        x = (x if place == 0 else x.clamp(min=0)) @ weights[place].T + weights[place + 1]
    assert [w.shape[0] for w in weights[1::2]] == [*hidden, 3]
    torch.testing.assert_close(network(images), x)
    assert torch.equal(network(images.flatten(1)), network(images)) and torch.equal(images, before)


def test_number_of_weights_by_hand() -> None:
    expected = 64 * 256 + 256 + 256 * 128 + 128 + 128 * 10 + 10
    assert sum(p.numel() for p in MLP(10, 64).parameters()) == expected
