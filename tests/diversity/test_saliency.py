from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evoens.diversity.saliency import coloured, greedy_actions, noisy_copies, unit_maps, view
from evoens.errors import ShapeError
from evoens.tasks.networks.impala import ImpalaPolicy


class Linear(nn.Module):
    """Logits linear in the frame, which it scales in place as a network for bytes may."""

    def __init__(self, classes: int = 4, pixels: int = 2 * 5 * 6) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.register_buffer("weight", torch.randn(classes, pixels, generator=generator))

    def forward(self, frames: Tensor) -> Tensor:
        return frames.float().div_(255).flatten(1) @ self.weight.T


def frames(n: int = 3, shape: tuple[int, int, int] = (2, 5, 6)) -> Tensor:
    return torch.randint(0, 256, (n, *shape), generator=torch.Generator().manual_seed(1)).byte()


def closed_form(module: Linear, seen: Tensor, action: int) -> Tensor:
    """∂p_a/∂x = p_a (w_a − Σ_k p_k w_k) / 255 for logits W·x / 255."""
    p = torch.softmax(module(seen[None].clone()), -1)[0]
    return (p[action] * (module.weight[action] - p @ module.weight) / 255).view_as(seen)


def test_maps_match_the_closed_form_averaged_before_the_absolute_value() -> None:
    module, seen = Linear(), frames()
    copies = noisy_copies(seen, 5, 30.0, seed=2)
    actions = greedy_actions(module, seen)
    got = view(module, copies.clone(), actions)
    for i in range(3):
        gradients = torch.stack([closed_form(module, copy[i], int(actions[i])) for copy in copies])
        assert torch.allclose(got.maps[i], gradients.mean(0).abs().sum(0), rtol=1e-4, atol=1e-9)
    assert torch.allclose(got.outputs, torch.softmax(module(copies.flatten(0, 1).clone()), -1), atol=1e-6)


def test_many_pixels_are_looked_at_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    module, seen = Linear(), frames()
    copies, actions = noisy_copies(seen, 5, 30.0, seed=2), greedy_actions(module, seen)
    whole = view(module, copies, actions)
    for pixels in (1, 4 * 5 * 6):
        monkeypatch.setattr("evoens.diversity.saliency.PIXELS", pixels)
        some = view(module, copies, actions)
        torch.testing.assert_close(some.outputs, whole.outputs)
        torch.testing.assert_close(some.maps, whole.maps)


def test_the_frames_given_are_left_as_they_are() -> None:
    module, seen = Linear(), frames()
    copies = noisy_copies(seen, 2, 4.0, seed=2)
    before = copies.clone()
    view(module, copies, greedy_actions(module, seen))
    assert torch.equal(copies, before) and torch.equal(seen, frames())


def test_impala_is_seen_through_in_grey_levels() -> None:
    module = ImpalaPolicy((4, 4, 4), 6).eval().requires_grad_(False)
    seen = frames(2, (6, 64, 64))
    with torch.no_grad():
        got = view(module, noisy_copies(seen, 1, 0.0, seed=0), greedy_actions(module, seen))
        assert torch.allclose(got.outputs, torch.softmax(module(seen), -1), atol=1e-6)
    assert got.maps.shape == (2, 64, 64) and float(got.maps.max()) > 0
    assert not got.outputs.requires_grad and all(p.grad is None for p in module.parameters())


def test_noise_has_the_sigma_asked_for_and_its_own_random_state() -> None:
    state = torch.get_rng_state()
    seen = frames(4, (6, 64, 64))
    noise = noisy_copies(seen, 3, 4.0, seed=5) - seen
    assert float(noise.std()) == pytest.approx(4.0, rel=0.01) and abs(float(noise.mean())) < 0.05
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(noisy_copies(seen, 3, 4.0, seed=5) - seen, noise)
    assert not torch.equal(noise[0], noise[1])


def test_frames_must_be_a_batch() -> None:
    with pytest.raises(ShapeError, match=r"\(n, c, h, w\), found \(6, 64, 64\)"):
        noisy_copies(torch.zeros(6, 64, 64), 1, 1.0, 0)


def test_one_hot_pixel_does_not_hide_the_rest() -> None:
    maps = torch.linspace(0, 1, 400).view(1, 20, 20).clone()
    maps[0, 0, 0] = 1000
    scaled = unit_maps(maps)
    assert scaled.max() == 1.0 and np.median(scaled) == pytest.approx(0.5, abs=0.02)


def test_empty_and_nearly_empty_maps_stay_finite() -> None:
    maps = torch.zeros(2, 20, 20)
    maps[1, 3, 4] = 0.5
    scaled = unit_maps(maps)
    assert scaled[0].max() == 0 and scaled[1].sum() == 1.0


def test_colours_run_from_dark_to_bright() -> None:
    painted = coloured(torch.linspace(0, 1, 256).view(1, 16, 16))
    brightness = painted.astype(int).sum(-1).ravel()
    assert painted.dtype == np.uint8 and painted.shape == (1, 16, 16, 3)
    assert brightness[0] < 30 and brightness[-1] > 600 and np.all(np.diff(brightness) >= -3)
