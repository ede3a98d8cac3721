"""Spectra against cosines summed one by one, motions against scipy's, and draws that hang on seed and name alone."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage
import torch
from torch import Tensor

from evoens.diversity.fourier import STD, motions, moved, painted, spectrum
from evoens.errors import ShapeError

Floats = npt.NDArray[np.float64]


def summed(spectra: Floats, w: int) -> Floats:
    """Planes `(c, h, w)`: every frequency's wave, weighed by 1 / frequency, one after the other."""
    c, h = spectra.shape[:2]
    y, x = np.mgrid[:h, :w]
    planes = np.zeros((c, h, w))
    for u in range(h):
        for v in range(w // 2 + 1):
            far = math.hypot(min(u, h - u) / h, v / w)
            twice = 1 if v == 0 or 2 * v == w else 2  # the other half of the spectrum is this one's mirror image
            wave = np.exp(2j * np.pi * (u * y / h + v * x / w)) * twice / max(far, 1 / max(h, w)) / math.sqrt(h * w)
            planes += np.stack([((part[u, v, 0] + 1j * part[u, v, 1]) * wave).real for part in spectra])
    return planes


def coloured(planes: Floats) -> Floats:
    """Colours 0 to 255 of three planes, by lucid's matrix."""
    root = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
    root /= max(math.sqrt(sum(row[column] ** 2 for row in root)) for column in range(3))
    mixed = [sum(root[colour, k] * planes[k] for k in range(3)) for colour in range(3)]
    return 255 / (1 + np.exp(-np.array(mixed)))


@pytest.mark.parametrize("shape", [(3, 8, 10), (3, 9, 7), (6, 6, 5)], ids=str)
def test_images_are_the_sum_of_their_waves(shape: tuple[int, int, int]) -> None:
    spectra = spectrum(3, "x", shape) * 100
    planes = summed(spectra.double().numpy(), shape[2]) / 4
    expected = np.concatenate([coloured(planes[first : first + 3]) for first in range(0, shape[0], 3)])
    np.testing.assert_allclose(painted(spectra[None], shape[2])[0].numpy(), expected, atol=2e-3)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_depths_have_no_colours_to_mix(channels: int) -> None:
    spectra = spectrum(3, "x", (channels, 6, 7)) * 100
    expected = 255 / (1 + np.exp(-summed(spectra.double().numpy(), 7) / 4))
    np.testing.assert_allclose(painted(spectra[None], 7)[0].numpy(), expected, atol=2e-3)


def test_the_first_image_is_nearly_grey_and_not_flat() -> None:
    image = painted(spectrum(0, "x", (3, 32, 32))[None], 32)
    assert 0 < float(image.std()) < 5 and abs(float(image.mean()) - 127.5) < 5


def test_spectra_of_another_shape_are_told() -> None:
    with pytest.raises(ShapeError, match=r"expected shape \(n, c, h, 5, 2\), found \(1, 3, 8, 4, 2\)"):
        painted(torch.zeros(1, 3, 8, 4, 2), 8)


def test_draws_hang_on_seed_and_name_alone() -> None:
    state = torch.get_rng_state()
    first, looks = spectrum(1, "a", (3, 32, 32)), motions(1, "a", 9)
    assert torch.equal(spectrum(1, "a", (3, 32, 32)), first) and torch.equal(motions(1, "a", 20)[:9], looks)
    for seed, name in ((2, "a"), (1, "b")):
        assert abs(float((spectrum(seed, name, (3, 32, 32)) * first).mean())) < STD**2 / 10
        assert not torch.isclose(motions(seed, name, 9), looks).all(-1).any()
    assert float(first.std()) == pytest.approx(STD, rel=0.03)
    assert torch.equal(torch.get_rng_state(), state)


def test_motions_reach_their_bounds_and_jitters_are_whole_pixels() -> None:
    found = motions(5, "x", 3000).double()
    turned, shift = found[:, :, :2], found[:, :, 2]
    zoom, angle = turned.det() ** -0.5, torch.atan2(turned[:, 0, 1], turned[:, 0, 0]).rad2deg()
    assert 0.95 <= zoom.min() < 0.951 and 1.049 < zoom.max() <= 1.05
    assert -5 <= angle.min() < -4.95 and 4.95 < angle.max() <= 5
    near = torch.cartesian_prod(*[torch.arange(-4.0, 5.0, dtype=torch.float64)] * 2)
    far = shift[:, None] - torch.einsum("nij,mj->nmi", turned, near)  # for each guess of the second jitter, the first
    off = (far - far.round()).abs().amax(-1) + (far.abs().amax(-1) > 8.01)
    best = off.argmin(1)
    assert off.min(1).values.max() < 1e-4
    assert set(near[best].flatten().tolist()) == set(range(-4, 5))
    assert set(far[torch.arange(3000), best].round().flatten().tolist()) == set(range(-8, 9))


def by_scipy(image: Tensor, motion: Tensor) -> Floats:
    """In rows and columns from the first pixel, where ours are right and down from the centre."""
    matrix = motion[:, :2].double().numpy()[::-1, ::-1]
    centre = (np.array(image.shape[-2:]) - 1) / 2
    offset = motion[:, 2].double().numpy()[::-1] + centre - matrix @ centre
    planes = [
        scipy.ndimage.affine_transform(p, matrix, offset, order=1, mode="reflect") for p in image.double().numpy()
    ]
    return np.stack(planes)


def test_looks_are_the_affine_map_of_scipy() -> None:
    images = torch.rand(40, 2, 23, 31, generator=torch.Generator().manual_seed(0)) * 255
    looks = motions(7, "x", 40)
    found = moved(images, looks).numpy()
    for image, look, seen in zip(images, looks, found, strict=True):
        np.testing.assert_allclose(seen, by_scipy(image, look), atol=0.02)


def test_whole_pixels_blur_nothing_and_beyond_the_border_is_the_mirror_image() -> None:
    image = torch.rand(1, 1, 12, 9, generator=torch.Generator().manual_seed(0))
    seen = moved(image, torch.tensor([[[1.0, 0, 3], [0, 1, -2]]]))[0, 0]  # three to the right, two up
    expected = np.pad(image[0, 0].numpy(), ((2, 0), (0, 3)), "symmetric")[:12, 3:]
    np.testing.assert_allclose(seen.numpy(), expected, atol=1e-5)


def test_gradients_reach_the_spectra() -> None:
    spectra = spectrum(0, "x", (3, 8, 8))[None].requires_grad_()
    (gradient,) = torch.autograd.grad(moved(painted(spectra, 8), motions(0, "x", 1)).sum(), spectra)
    assert torch.isfinite(gradient).all() and float(gradient.abs().max()) > 0
