"""The portable streams: published numbers, statistics, and independence of name, seed, length and machine."""

import hashlib
import importlib.util
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import pairwise
from math import ceil, comb, prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.special import ndtri

from evoens import noise
from evoens.genome import Mask

# ---- an oracle of its own: Philox4x64-10 from Salmon et al. 2011 in Python's integers, Φ⁻¹ from scipy in float64

MULTIPLIERS = (0xD2E7470EE14C6C93, 0xCA5A826395121157)
WEYL = (0x9E3779B97F4A7C15, 0xBB67AE8584CAA73B)
LOW = 2**64 - 1
ONES4, ONES2 = (LOW,) * 4, (LOW,) * 2


def philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    a, b, c, d = counter
    k0, k1 = key
    for _ in range(10):
        p, q = MULTIPLIERS[0] * a, MULTIPLIERS[1] * c
        a, b, c, d = (q >> 64) ^ b ^ k0, q & LOW, (p >> 64) ^ d ^ k1, p & LOW
        k0, k1 = (k0 + WEYL[0]) & LOW, (k1 + WEYL[1]) & LOW
    return a, b, c, d


def oracle_words(seed: int, stream: str, n: int) -> list[int]:
    """NumPy's stream: the counter is 1 at the first block, the lowest word of each output comes first."""
    key = (seed, int.from_bytes(hashlib.sha256(stream.encode()).digest()[:8], "little"))
    outputs = [value for block in range(1, n // 16 + 2) for value in philox((block, 0, 0, 0), key)]
    return [value >> shift & 0xFFFF for value in outputs for shift in (0, 16, 32, 48)][:n]


def oracle_mask(mask: Mask, n: int) -> list[bool]:
    """Where a mask holds among `n` weights of "conv.weight", one channel each, from the stream's words in integers."""
    words = oracle_words(mask.seed, "mask:conv.weight", n)
    if mask.structure == "unstructured":
        if mask.parts > 2:
            return [w * mask.parts >> 16 == mask.part for w in words]
        return [(w < round(mask.density * 65536)) != bool(mask.part) for w in words]
    ranking = sorted(range(n), key=lambda place: (words[place], place))
    if mask.structure == "2:4":
        groups = [[p for p in ranking if p // 4 == group] for group in range(-(-n // 4))]
        kept = {place for group in groups for place in group[: (len(group) + 1) // 2]}
        return [(place in kept) != bool(mask.part) for place in range(n)]
    if mask.parts > 2:
        first, last = (ceil(Fraction(n * part, mask.parts)) for part in (mask.part, mask.part + 1))
        return [place in ranking[first:last] for place in range(n)]
    return [(place in ranking[: round(mask.density * n)]) != bool(mask.part) for place in range(n)]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0,) * 4, (0, 0), (0x16554D9ECA36314C, 0xDB20FE9D672D0FDC, 0xD7E772CEE186176B, 0x7E68B68AEC7BA23B)),
        (ONES4, ONES2, (0x87B092C3013FE90B, 0x438C3C67BE8D0224, 0x9CC7D7C69CD777B6, 0xA09CAEBF594F0BA0)),
    ],
)
def test_the_oracle_is_philox(counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]) -> None:
    """Known answers published with the algorithm (Random123's kat_vectors, philox4x64 10)."""
    assert philox(counter, key) == expected


@settings(max_examples=30, deadline=None)
@given(st.integers(0, LOW), st.text(max_size=20), st.integers(1, 70))
def test_words_are_philox(seed: int, stream: str, n: int) -> None:
    assert noise.words(seed, stream, n).tolist() == oracle_words(seed, stream, n)


# ---- published vectors: the standard, in numbers that must never change

WORDS = {
    (0, "conv.weight"): [15248, 46091, 60338, 25831, 33783, 63090, 11619, 27314, 17610, 16027],
    (2**64 - 1, "body.0.conv1.weight"): [27318, 27803, 47776, 10356, 40217, 56896, 6473, 59106, 43272, 27828],
    (20231123, "fc/ε.weight"): [11348, 46925, 5196, 58024, 149, 54475, 57263, 45063, 48570, 13748],
}
NORMALS = {  # float32 bits
    (0, "conv.weight"): [
        0xBF3AE5E1, 0x3F08AEC7, 0x3FB47283, 0xBE8978C6, 0x3D1F21F1,
        0x3FE43067, 0xBF6CFB0B, 0xBE572A3F, 0xBF1DE055, 0xBF3113CD,
    ],
    (2**64 - 1, "body.0.conv1.weight"): [
        0xBE57013E, 0xBE439F94, 0x3F1C1D92, 0xBF80551A, 0x3E93EA76,
        0x3F8F13C0, 0xBFA4EF1E, 0x3FA56DEC, 0x3ED394AC, 0xBE42A053,
    ],
    (20231123, "fc/ε.weight"): [
        0xBF71157E, 0x3F12321C, 0xBFB475E6, 0x3F99E632, 0xC03587BF,
        0x3F758381, 0x3F927BCA, 0x3EFA6B46, 0x3F25963F, 0xBF4EA26C,
    ],
}  # fmt: skip
TABLE_SHA256 = "1cfbba1e07e34386a57626f82aeb43e6ed54ba70a3ea6b7d964dc66a841074a8"
LONG_SHA256 = "57197e88a703d92cfa6c632223667e65702cbf4481c78217d77ac828cfcccb80"  # (3, "long.weight"), 100 003 values


def bits(values: torch.Tensor) -> list[int]:
    return values.numpy().view(np.uint32).tolist()


@pytest.fixture(params=["C", "NumPy"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the two ways of drawing: as built from streams.c, and through NumPy where nothing could be built."""
    if request.param == "NumPy":
        monkeypatch.setattr(noise, "compiled", lambda: None)
    elif noise.compiled() is None:
        pytest.skip("streams.c was not built here")
    return str(request.param)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(("seed", "name"), WORDS)
def test_published_vectors(seed: int, name: str) -> None:
    assert noise.words(seed, name, 10).tolist() == WORDS[seed, name]
    assert bits(noise.normals(seed, name, (10,))) == NORMALS[seed, name]


@pytest.mark.usefixtures("way")
def test_published_hash_of_a_long_stream() -> None:
    values = noise.normals(3, "long.weight", (100_003,)).numpy().astype("<f4")
    assert hashlib.sha256(values.tobytes()).hexdigest() == LONG_SHA256


@pytest.mark.usefixtures("way")
def test_published_masks() -> None:
    """The first word below .2 · 65536 is the fifteenth; three parts by `word · 3 >> 16`."""
    assert noise.keep(Mask(5, 0.2), "conv.weight", (16,)).nonzero().flatten().tolist() == [14]
    assert noise.keep(Mask(5, 0.2, 2, 1), "conv.weight", (16,)).logical_not().nonzero().flatten().tolist() == [14]
    thirds = torch.stack([noise.keep(Mask(5, 1 / 3, 3, part), "conv.weight", (16,)) for part in range(3)])
    assert thirds.int().argmax(0).tolist() == [2, 2, 0, 2, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 0, 1]


@pytest.mark.usefixtures("way")
def test_published_masks_of_each_structure() -> None:
    """The words of (5, "mask:conv.weight") are 54852, 49794, 13142, 48271, 56979, 34873, 25360, 27330 and so on."""

    def kept(*mask: Any) -> list[int]:
        return noise.keep(Mask(5, *mask), "conv.weight", (16,)).nonzero().flatten().tolist()

    assert kept(0.2, 1, 0, "exact") == [2, 6, 14]
    assert kept(1 / 3, 3, 1, "exact") == [5, 8, 11, 12, 13]
    assert kept(0.5, 2, 1, "channels") == [0, 1, 3, 4, 8, 10, 11, 13]
    assert kept(0.5, 2, 0, "2:4") == [2, 3, 6, 7, 8, 9, 14, 15]


@pytest.mark.usefixtures("way")
def test_a_published_step_of_a_mask_that_is_annealed() -> None:
    target, chance = noise.keep(Mask(5, 0.5), "conv.weight", (16,)), torch.full((16,), 30_000).to(torch.uint16)
    assert target.nonzero().flatten().tolist() == [2, 6, 7, 14]
    found = noise.annealed_mask(0, "step 7:conv.weight", target, chance, 0.75)
    assert found.nonzero().flatten().tolist() == [2, 6, 12, 15]


@pytest.mark.skipif(noise.compiled() is None, reason="streams.c was not built here")
@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, LOW),
    st.text(max_size=20),
    st.integers(0, 5000) | st.integers(noise.CHUNK - 20, 2 * noise.CHUNK + 20),
)
def test_both_ways_draw_the_same_bits(seed: int, name: str, n: int) -> None:
    target, chance = noise.keep(Mask(seed), name, (n,)), torch.from_numpy(noise.words(seed ^ 1, name, n))
    built = noise.words(seed, name, n), noise.normals(seed, name, (n,)), turned_at(seed, name, target, chance)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(noise, "compiled", lambda: None)
        assert np.array_equal(built[0], noise.words(seed, name, n))
        assert torch.equal(built[1], noise.normals(seed, name, (n,)))
        assert all(map(torch.equal, built[2], turned_at(seed, name, target, chance)))


@pytest.mark.skipif(noise.compiled() is None, reason="streams.c was not built here")
@pytest.mark.parametrize("n", [4096, 4097, 5000, 5015])
def test_threads_share_a_draw_out_and_change_no_bit(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    target, chance = noise.keep(Mask(1), "w", (n,)), torch.from_numpy(noise.words(2, "w", n))
    alone = noise.words(3, "w", n), noise.normals(3, "w", (n,)), turned_at(3, "w", target, chance)
    shared: list[int] = []
    monkeypatch.setattr(noise, "PART", 1000)
    monkeypatch.setattr(
        noise, "ThreadPoolExecutor", lambda threads: shared.append(threads) or ThreadPoolExecutor(threads)
    )
    for threads in (2, 3, 8):  # of the last no more than four have a thousand words each
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        assert np.array_equal(alone[0], noise.words(3, "w", n))
        assert torch.equal(alone[1], noise.normals(3, "w", (n,)))
        assert all(map(torch.equal, alone[2], turned_at(3, "w", target, chance)))
    assert set(shared) == {2, 3, min(8, n // 1000)}


def turned_at(seed: int, name: str, target: torch.Tensor, chance: torch.Tensor) -> list[torch.Tensor]:
    """A step at each of three heats."""
    return [noise.annealed_mask(seed, name, target, chance, temperature) for temperature in (1.0, 0.3, 0.0)]


def test_a_library_that_does_not_load_is_done_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "_streams.so").write_bytes(b"not a library")
    wrong = importlib.util.spec_from_file_location("evoens._streams", tmp_path / "_streams.so")
    for found in (wrong, None):
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, found=found: found)
        assert noise.compiled.__wrapped__() is None


def test_table_is_the_quantiles_rounded_once() -> None:
    exact = ndtri((np.arange(65536) + 0.5) / 65536)
    table = noise.quantiles()
    assert np.array_equal(table, exact.astype(np.float32))
    assert np.array_equal(table, -table[::-1])
    assert hashlib.sha256(table.astype("<f4").tobytes()).hexdigest() == TABLE_SHA256


def test_no_library_can_round_the_table_otherwise() -> None:
    """Every exact quantile is thousands of float64 units away from the middle between two float32 numbers."""
    exact = ndtri((np.arange(32768, 65536) + 0.5) / 65536)
    near = exact.astype(np.float32)
    middles = [(near.astype(np.float64) + np.nextafter(near, np.float32(to))) / 2 for to in (-9, 9)]
    assert (np.min([np.abs(m - exact) for m in middles], axis=0) / np.spacing(exact)).min() > 1000


def test_table_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        noise.quantiles()[0] = 0


# ---- independence of everything but seed and name

SHAPES = [(), (1,), (3, 5), (8, 3, 3, 3), (noise.CHUNK,), (noise.CHUNK + 1,), (2, noise.CHUNK + 3), (0, 4)]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shape_and_dtype(shape: tuple[int, ...]) -> None:
    values, kept = noise.normals(1, "a", shape), noise.keep(Mask(1), "a", shape)
    assert (values.shape, values.dtype) == (shape, torch.float32)
    assert (kept.shape, kept.dtype) == (shape, torch.bool)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize(
    "n", [1, 2, 3, 4, 5, 15, 16, 17, *(k * noise.CHUNK + d for k in (1, 2) for d in (-3, -1, 0, 1, 2))]
)
def test_first_values_do_not_depend_on_the_length(n: int) -> None:
    whole = noise.normals(11, "w", (3 * noise.CHUNK,))
    assert torch.equal(noise.normals(11, "w", (n,)), whole[:n])
    mask = Mask(11, 0.3)
    assert torch.equal(noise.keep(mask, "w", (n,)), noise.keep(mask, "w", (3 * noise.CHUNK,))[:n])


def test_shape_only_folds_the_stream() -> None:
    assert torch.equal(noise.normals(1, "w", (4, 3, 5)).flatten(), noise.normals(1, "w", (60,)))


def test_global_random_states_play_no_part() -> None:
    torch.manual_seed(1)
    first = noise.normals(1, "w", (100,))
    torch.manual_seed(2)
    before = torch.get_rng_state()
    assert torch.equal(noise.normals(1, "w", (100,)), first)
    assert torch.equal(torch.get_rng_state(), before)


def test_each_draw_is_a_tensor_of_its_own() -> None:
    noise.normals(1, "w", (10,)).zero_()
    assert noise.normals(1, "w", (10,)).abs().min() > 0


def test_same_bits_in_another_process() -> None:
    code = (
        "from evoens import noise; import hashlib; "
        "print(hashlib.sha256(noise.normals(3, 'long.weight', (100_003,)).numpy().astype('<f4').tobytes()).hexdigest())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == LONG_SHA256


# ---- statistics; the streams are fixed, so these never flicker

N = 1 << 20


def correlation(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1])


@pytest.mark.parametrize(("seed", "name"), [(0, "a"), (1, "conv.weight"), (2**63, "fc.weight")])
def test_moments_and_distribution(seed: int, name: str) -> None:
    z = noise.normals(seed, name, (N,)).double().numpy()
    for power, (mean, variance) in {1: (0, 1), 2: (1, 2), 3: (0, 15), 4: (3, 96)}.items():
        assert abs((z**power).mean() - mean) < 4 * (variance / N) ** 0.5
    distance = stats.kstest(z, "norm").statistic
    assert distance < 1.95 / N**0.5 + 2**-17  # critical value at 0.1 %, and half a step of the table


def test_neighbours_in_a_stream_are_uncorrelated() -> None:
    z = noise.normals(4, "w", (N,))
    for lag in (1, 2, 3, 4, 16, noise.CHUNK):
        assert abs(correlation(z[:-lag], z[lag:])) < 4 / N**0.5


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((7, "conv1.weight"), (7, "conv2.weight")),
        ((7, "conv1.weight"), (7, "conv1.weight ")),
        ((7, "w"), (8, "w")),
        ((7, "w"), (7 + 2**63, "w")),
        ((0, "w"), (1, "w")),
        ((1, "2"), (2, "1")),
    ],
)
def test_other_names_and_other_seeds_are_uncorrelated(a: tuple[int, str], b: tuple[int, str]) -> None:
    """Equal shapes under one seed must not share their noise, as they do where a generator is reseeded per tensor."""
    x, y = noise.normals(*a, (512, 512)), noise.normals(*b, (512, 512))
    assert abs(correlation(x, y)) < 4 / 512
    assert abs(correlation(x.abs(), y.abs())) < 4 / 512


def test_masks_and_noise_of_one_seed_are_uncorrelated() -> None:
    kept = noise.keep(Mask(7, 0.5), "w", (N,))
    z = noise.normals(7, "w", (N,))
    assert abs(correlation(kept, z)) < 4 / N**0.5
    assert abs(correlation(kept, z.abs())) < 4 / N**0.5


# ---- masks

PARTITIONS = [(1, 1.0), *((2, d) for d in (0.001, 0.2, 0.5, 0.9, 1.0)), *((k, 1 / k) for k in (3, 4, 5, 7, 8, 16, 100))]


def parts_of(seed: int, name: str, parts: int, density: float, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.stack([noise.keep(Mask(seed, density, parts, part), name, shape) for part in range(parts)])


@pytest.mark.parametrize(("parts", "density"), PARTITIONS)
@pytest.mark.parametrize("shape", [(33,), (16, 3, 3, 3), (64, 1024)], ids=str)
def test_parts_are_disjoint_and_sum_to_one_everywhere(parts: int, density: float, shape: tuple[int, ...]) -> None:
    for seed, name in ((0, "a.weight"), (2**64 - 1, "b.weight")):
        assert torch.equal(parts_of(seed, name, parts, density, shape).sum(0), torch.ones(shape, dtype=torch.int64))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, LOW), st.text(max_size=12), st.integers(1, 40), st.floats(1e-4, 1))
def test_any_partition_is_one(seed: int, name: str, parts: int, density: float) -> None:
    share = 1 / parts if parts > 2 else density if parts == 2 else 1.0
    assert torch.equal(parts_of(seed, name, parts, share, (7, 9)).sum(0), torch.ones(7, 9, dtype=torch.int64))


@pytest.mark.parametrize(
    ("parts", "part", "density", "share"),
    [
        *((1, 0, d, d) for d in (0.01, 0.2, 0.5, 0.99)),
        *((2, 0, d, d) for d in (0.2, 0.5)),
        *((2, 1, d, 1 - d) for d in (0.2, 0.5)),
        *((k, part, 1 / k, 1 / k) for k in (3, 8, 100) for part in (0, k - 1)),
    ],
)
def test_density_is_right_within_binomial_bounds(parts: int, part: int, density: float, share: float) -> None:
    kept = int(noise.keep(Mask(21, density, parts, part), "w", (N,)).sum())
    resolution = 1 / 65536  # the grid on which probabilities lie
    low, high = stats.binom.interval(0.9999, N, share)
    assert low - resolution * N <= kept <= high + resolution * N


def test_density_one_keeps_all_and_its_anti_mask_nothing() -> None:
    assert noise.keep(Mask(1, 1.0), "w", (5000,)).all()
    assert not noise.keep(Mask(1, 1.0, 2, 1), "w", (5000,)).any()


def test_masks_of_other_seeds_and_names_are_independent() -> None:
    """Two independent masks of density ½ agree in a binomial number of places."""
    low, high = stats.binom.interval(0.9999, N, 0.5)
    mine = noise.keep(Mask(1), "w", (N,))
    for other in (noise.keep(Mask(2), "w", (N,)), noise.keep(Mask(1), "v", (N,))):
        assert low <= int((mine == other).sum()) <= high


def test_small_tensors_meet_every_pattern_of_a_mask() -> None:
    """Five weights of two parts: all 2⁵ masks turn up, each about as often, over many seeds."""
    draws = 3200
    patterns = [tuple(noise.keep(Mask(seed), "bias", (5,)).tolist()) for seed in range(draws)]
    ones = np.bincount([sum(p) for p in patterns], minlength=6)
    assert len(set(patterns)) == 32
    assert stats.chisquare(ones, [draws * comb(5, k) / 32 for k in range(6)]).pvalue > 0.001


# ---- structures


RANKED = [("exact", d, k) for d, k in ((0.02, 1), (0.3, 1), (0.3, 2), (0.5, 2), (1 / 3, 3), (1 / 7, 7))]
STRUCTURED = [*RANKED, *(("channels", d, k) for _, d, k in RANKED), ("2:4", 0.5, 1), ("2:4", 0.5, 2)]
SHAPES_KEPT = [(16,), (7, 9), (16, 3, 5, 5), (64, 30), (1, 1), (5, 1, 3, 3), (0, 4), (3, 0)]


@pytest.mark.parametrize("shape", SHAPES_KEPT, ids=str)
@pytest.mark.parametrize(("structure", "density", "parts"), STRUCTURED)
def test_parts_of_a_structure_are_disjoint_and_cover(
    structure: str, density: float, parts: int, shape: tuple[int, ...]
) -> None:
    kept = [noise.keep(Mask(4, density, parts, p, structure), "conv.weight", shape) for p in range(parts)]
    assert all((mask.shape, mask.dtype) == (shape, torch.bool) for mask in kept)
    if parts > 1:
        assert torch.equal(torch.stack(kept).sum(0), torch.ones(shape, dtype=torch.int64))
    units = shape[0] if structure == "channels" else prod(shape)
    counts = [int((m.flatten(1)[:, :1] if structure == "channels" and m.dim() > 1 else m).sum()) for m in kept]
    if structure != "2:4" and prod(shape):
        share = [m.share for m in (Mask(0, density, parts, p) for p in range(parts))]
        assert all(
            abs(count - units * own) <= (1 if parts > 2 else 0.5) for count, own in zip(counts, share, strict=True)
        )


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("n", [1, 4, 6, 7, 16, 33, 300])
@pytest.mark.parametrize(("structure", "density", "parts"), STRUCTURED)
def test_structures_against_integers(structure: str, density: float, parts: int, n: int) -> None:
    for part in range(parts):
        mask = Mask(2**64 - 7, density, parts, part, structure)
        assert noise.keep(mask, "conv.weight", (n,)).tolist() == oracle_mask(mask, n)


def test_channels_are_kept_or_left_whole() -> None:
    for shape in ((10, 4, 3, 3), (10, 7)):
        kept = noise.keep(Mask(1, 0.3, structure="channels"), "w", shape).flatten(1)
        assert kept.all(1).sum() == 3 and kept.any(1).sum() == 3


@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 3, 3), (5, 3, 5, 5), (4, 6), (4, 1)], ids=str)
def test_two_of_four_neighbours_are_kept_and_the_anti_mask_has_the_others(shape: tuple[int, ...]) -> None:
    mask, anti = (noise.keep(Mask(8, 0.5, 2, part, "2:4"), "w", shape).flatten(1) for part in (0, 1))
    whole = mask.shape[1] // 4 * 4
    for kept in (mask, anti):
        assert (kept[:, :whole].reshape(-1, 4).sum(1) == 2).all()
    rest = mask.shape[1] - whole
    assert (mask[:, whole:].sum(1) == (rest + 1) // 2).all() and (anti[:, whole:].sum(1) == rest // 2).all()


def test_each_two_of_four_are_as_likely() -> None:
    groups = noise.keep(Mask(3, 0.5, structure="2:4"), "w", (400, 600)).reshape(-1, 4).int()
    patterns = np.bincount((groups @ torch.tensor([8, 4, 2, 1], dtype=torch.int32)).numpy(), minlength=16)
    assert stats.chisquare(patterns[[3, 5, 6, 9, 10, 12]]).pvalue > 0.001


@pytest.mark.parametrize("structure", ["exact", "channels"])
@pytest.mark.parametrize(("density", "parts"), [(0.2, 1), (0.3, 2), (1 / 3, 3), (1 / 5, 5)])
def test_a_larger_share_holds_every_smaller_one(structure: str, density: float, parts: int) -> None:
    shape = (50, 6)
    for part in range(parts):
        mask = Mask(6, density, parts, part, structure)
        own = noise.keep(mask, "w", shape)
        kept = [noise.keep(mask, "w", shape, share=s) for s in (1.0, 0.8, 0.62, mask.share, 0.01)]
        assert kept[0].all() and torch.equal(kept[-1], own)
        assert all(not (smaller & ~larger).any() for larger, smaller in pairwise(kept))
        units = 300 if structure == "exact" else 50
        counts = [int(k.sum()) * units // 300 for k in kept]
        assert counts[:3] == [max(round(units * s), counts[-1]) for s in (1.0, 0.8, 0.62)]


# ---- annealing


@settings(max_examples=30, deadline=None)
@given(st.integers(0, LOW), st.text(max_size=12), st.integers(1, 60), st.floats(0, 1))
def test_a_step_turns_over_what_its_words_say(seed: int, stream: str, n: int, temperature: float) -> None:
    target = [place % 3 == 0 for place in range(n)]
    chance = [place * 9_999_991 % 65536 for place in range(n)]
    words, share = oracle_words(seed, stream, n), round(temperature * 65536)
    expected = [t != (w < (c * share >> 16)) for t, c, w in zip(target, chance, words, strict=True)]
    found = noise.annealed_mask(seed, stream, torch.tensor(target), torch.tensor(chance).to(torch.uint16), temperature)
    assert found.tolist() == expected


@pytest.mark.usefixtures("way")
def test_a_mask_is_turned_over_as_often_as_it_should_be_whatever_its_layout() -> None:
    target = noise.keep(Mask(1), "w", (1024, 1024))
    for chance, temperature in ((65535, 1.0), (40_000, 0.5), (600, 1.0), (65535, 0.0)):
        chances = torch.full(target.shape, chance).to(torch.uint16)
        annealed = noise.annealed_mask(5, "step 1:w", target, chances, temperature)
        low, high = stats.binom.interval(0.9999, N, chance * temperature / 65536)
        assert low <= int((annealed != target).sum()) <= high
        assert torch.equal(
            noise.annealed_mask(5, "step 1:w", target.t(), chances, temperature), annealed ^ target ^ target.t()
        )
    low, high = stats.binom.interval(0.9999, N, 0.5)
    half = torch.full(target.shape, 32768).to(torch.uint16)
    steps = [noise.annealed_mask(5, f"step {step}:w", target, half, 1.0) for step in (1, 2)]
    assert low <= int((steps[0] == steps[1]).sum()) <= high


def test_once_is_once_within_a_memory_and_each_time_without() -> None:
    drawn: list[int] = []

    def draw() -> int:
        drawn.append(len(drawn))
        return drawn[-1]

    assert (noise.once("a", draw), noise.once("a", draw)) == (0, 1)
    memo: dict[Any, Any] = {}
    with noise.remembering(memo):
        assert (noise.once("a", draw), noise.once("a", draw), noise.once("b", draw)) == (2, 2, 3)
        with noise.remembering({}):
            assert noise.once("a", draw) == 4
        assert noise.once("a", draw) == 2
        with ThreadPoolExecutor(1) as pool:
            assert pool.submit(noise.once, "a", draw).result() == 5  # another thread has no memory, or its own
    assert noise.once("a", draw) == 6 and set(memo) == {"a", "b"}


def test_what_other_devices_draw_has_the_same_bits() -> None:
    """By the operations of torch that they would run, on this one."""
    cpu, shape = torch.device("cpu"), (3, 5, 7, 7)
    assert torch.equal(noise._normals_there(3, "w", shape, cpu), noise.normals(3, "w", shape))
    for mask in (Mask(1, 0.2), Mask(2, 0.3, 2, 1), *(Mask(3, 1 / 3, 3, part) for part in range(3))):
        assert torch.equal(noise._kept_there(mask, "mask:w", shape, cpu), noise.keep(mask, "w", shape))


@pytest.mark.gpu
def test_a_cuda_device_gives_the_same_bits() -> None:
    for shape in ((10,), (64, 32, 3, 3), (3, noise.CHUNK + 1)):
        there = noise.normals(3, "long.weight", shape, "cuda")
        assert there.is_cuda
        assert torch.equal(there.cpu(), noise.normals(3, "long.weight", shape))
        kept = noise.keep(Mask(1, 0.2, 2, 1), "w", shape, "cuda")
        assert torch.equal(kept.cpu(), noise.keep(Mask(1, 0.2, 2, 1), "w", shape))
        chance = torch.full(shape, 30_000).to(torch.uint16)
        annealed = noise.annealed_mask(1, "w", kept, chance.cuda(), 0.5)
        assert annealed.is_cuda and torch.equal(annealed.cpu(), noise.annealed_mask(1, "w", kept.cpu(), chance, 0.5))
        w, step = torch.linspace(-1, 1, prod(shape)).reshape(shape), noise.normals(5, "w", shape)
        assert torch.equal((w.cuda() + step.cuda().mul_(-0.02)).cpu(), w + step.mul_(-0.02))
