from __future__ import annotations

import colorsys

import numpy as np
import pytest
from corruption_pictures import assert_near, batch, cut, photos
from scipy import stats

from evoens.tasks.corruption import tone

SEVERITIES = range(1, 6)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_gaussian_and_speckle_noise_by_their_formulas(severity: int) -> None:
    x = photos() / 255
    for kind, sigma, scale in (
        ("gaussian_noise", [0.04, 0.06, 0.08, 0.09, 0.10], np.ones_like(x)),
        ("speckle_noise", [0.06, 0.1, 0.12, 0.16, 0.2], x),
    ):
        b = batch(kind, photos())
        expected = cut(x + scale * b.normals("noise", 3, 32, 32).astype(float) * sigma[severity - 1])
        assert_near(getattr(tone, kind)(b, severity), expected)


def test_gaussian_noise_is_as_strong_as_said() -> None:
    flat = np.full((4, 3, 64, 64), 128, dtype=np.uint8)
    out = tone.gaussian_noise(batch("gaussian_noise", flat), 3)
    assert out.std() == pytest.approx(0.08 * 255, rel=0.02)
    assert out.mean() == pytest.approx(127.5, abs=0.3)
    assert abs(np.corrcoef(out[0].ravel(), out[1].ravel())[0, 1]) < 0.03


@pytest.mark.parametrize(("severity", "photons"), zip(SEVERITIES, [500, 250, 100, 75, 50], strict=True))
def test_shot_noise_counts_photons(severity: int, photons: int) -> None:
    levels = np.repeat(np.array([0, 1, 40, 128, 255], dtype=np.uint8), 8192).reshape(5, 1, 64, 128)
    out = tone.shot_noise(batch("shot_noise", levels), severity)
    assert (out[0] == 0).all()
    for level, image in zip((1, 40, 128, 255), out[1:], strict=True):
        greys = np.arange(255)
        most = np.ceil((greys + 1) / 255 * photons - 1e-9) - 1  # the largest count that is cut to this grey
        found = np.array([(image <= grey).mean() for grey in greys])
        assert np.abs(found - stats.poisson.cdf(most, level / 255 * photons)).max() < 0.02


def test_shot_noise_by_hand() -> None:
    # white and 100 photons: P(count ≤ 79) = 0.0171..., so words below 0.0171 · 65536 are at most 79/100 of white
    table = tone.shot_table(100).reshape(256, 65536)
    fewer = stats.poisson.cdf(79, 100)
    assert (table[255] <= 201).mean() == pytest.approx(fewer, abs=1 / 65536)
    assert (table[128, 1:] >= table[128, :-1]).all() and table[255, -1] == 255 and (table[0] == 0).all()


@pytest.mark.parametrize(("severity", "amount"), zip(SEVERITIES, [0.01, 0.02, 0.03, 0.05, 0.07], strict=True))
def test_impulse_noise_is_half_salt_half_pepper(severity: int, amount: float) -> None:
    flat = np.full((8, 3, 64, 64), 100, dtype=np.uint8)
    out = tone.impulse_noise(batch("impulse_noise", flat), severity)
    assert (out == 0).mean() == pytest.approx(amount / 2, rel=0.1)
    assert (out == 255).mean() == pytest.approx(amount / 2, rel=0.1)
    assert set(np.unique(out)) == {0, 100, 255}


def through_hsv(pixels: np.ndarray, change) -> np.ndarray:
    out = np.empty(pixels.shape)
    for i, y, x in np.ndindex(pixels.shape[0], *pixels.shape[2:]):
        out[i, :, y, x] = colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*(pixels[i, :, y, x] / 255))))
    return cut(out)


def awkward() -> np.ndarray:
    """Photographs with black, white, grey and pure colours in a corner."""
    pixels = photos(2, 3, 16, 16)
    corner = [(0, 0, 0), (255, 255, 255), (90, 90, 90), (255, 0, 0), (0, 7, 0), (0, 255, 255)]
    pixels[0, :, 0, :6] = np.array(corner).T
    return pixels


@pytest.mark.parametrize(("severity", "rise"), zip(SEVERITIES, [0.05, 0.1, 0.15, 0.2, 0.3], strict=True))
def test_brightness_agrees_with_colorsys(severity: int, rise: float) -> None:
    expected = through_hsv(awkward(), lambda h, s, v: (h, s, min(v + rise, 1)))
    assert_near(tone.brightness(batch("brightness", awkward()), severity), expected)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_saturate_agrees_with_colorsys(severity: int) -> None:
    stretch, shift = [(0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)][severity - 1]
    expected = through_hsv(awkward(), lambda h, s, v: (h, min(s * stretch + shift, 1), v))
    assert_near(tone.saturate(batch("saturate", awkward()), severity), expected)


def test_saturate_leaves_greys_alone() -> None:
    pixels = photos(2, 1, 16, 16)
    out = tone.saturate(batch("saturate", pixels), 5)
    assert (out == pixels).all() and not np.shares_memory(out, pixels)


@pytest.mark.parametrize(("severity", "kept"), zip(SEVERITIES, [0.75, 0.5, 0.4, 0.3, 0.15], strict=True))
def test_contrast_pulls_each_channel_to_its_mean(severity: int, kept: float) -> None:
    x = photos() / 255
    means = x.mean((2, 3), keepdims=True)
    assert_near(tone.contrast(batch("contrast", photos()), severity), cut((x - means) * kept + means))


def test_contrast_by_hand() -> None:
    # half 0, half 200: mean 100; 0.4 of the contrast leaves 60 and 140
    pixels = np.zeros((1, 1, 8, 8), dtype=np.uint8)
    pixels[..., 4:] = 200
    assert set(np.unique(tone.contrast(batch("contrast", pixels), 3))) == {60, 140}
