"""What corruption does to a classifier: the same images for all, in every kind and severity, and honest averages."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from evoens.errors import ProblemError
from evoens.scoring.calibration import ece
from evoens.settings.classification import CORRUPTIONS, PUBLISHED, CorruptionSettings
from evoens.tasks import corrupted, corruption
from evoens.tasks.corrupted import Corrupted, accuracy_of, ece_of, nll_of
from evoens.tasks.corruption import corrupt
from evoens.tasks.data.images import Images

N, SEED = 6, 3
SETTINGS = CorruptionSettings(kinds=("contrast", "gaussian_noise"), severities=(1, 4, 5), images=N)


def images(n: int = 9) -> Images:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (2 * n, 16, 16, 3), dtype=np.uint8)).permute(0, 3, 1, 2)
    places = torch.arange(0, 2 * n, 2)
    return Images(pixels, places, torch.from_numpy(rng.integers(0, 4, n)))


def answers(n: int, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.softmax(3 * torch.randn(n, 4, generator=generator), dim=-1)


def test_the_settings_name_all_kinds() -> None:
    assert (*corruption.KINDS, *corruption.EXTRA, *corruption.DRE) == CORRUPTIONS and corruption.KINDS == PUBLISHED


@pytest.mark.parametrize("room", [0, 2000, 1 << 20])
def test_batches_are_the_first_images_in_every_kind_and_severity(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corrupted, "ROOM", room)
    found, all_images = Corrupted(images(), SETTINGS, SEED), images()
    pixels = all_images.take(torch.arange(N))
    expected = torch.cat([corrupt(pixels, k, s, SEED) for k in SETTINGS.kinds for s in SETTINGS.severities])
    assert len(found) == N
    for _ in range(2):  # as they were made, and as they were kept
        assert torch.equal(torch.cat(list(found.batches(0, 100, 4))), expected)
    parts = [torch.cat(list(found.batches(first, 4, 3))).unflatten(0, (6, -1)) for first in (0, 4)]
    assert torch.equal(torch.cat(parts, dim=1).flatten(0, 1), expected)
    assert list(found.batches(N, 5, 4)) == [] and torch.equal(found.labels(4, 50), all_images.labels[4:N])


def test_rows_and_their_averages_by_a_plain_loop() -> None:
    labels = images().labels[:N]
    outputs = answers(6 * N)
    rows = Corrupted(images(), SETTINGS, SEED).rows(outputs, labels)
    assert rows.shape == (N, 2, 3, 3) and rows.dtype == torch.float64
    by_set = outputs.view(6, N, 4).double()
    right = np.array([[float(p[i].argmax() == labels[i]) for i in range(N)] for p in by_set])
    nll = np.array([[-float(p[i, labels[i]].log()) for i in range(N)] for p in by_set])
    sure = by_set.amax(-1).numpy()
    assert accuracy_of(rows).score == pytest.approx(right.mean())
    assert nll_of(rows).score == pytest.approx(nll.mean())
    assert ece_of(rows).score == pytest.approx(np.mean([ece(sure[i], right[i]) for i in range(6)]))
    places = np.array([[0, 0, 5, 2, 2, 2], [3, 1, 4, 1, 5, 0]])
    expected = [np.mean([ece(sure[i][row], right[i][row]) for i in range(6)]) for row in places]
    assert ece_of(rows).of(places) == pytest.approx(expected)
    assert accuracy_of(rows).of(places) == pytest.approx([right[:, row].mean() for row in places])


def test_the_table_has_each_kind_and_competitor() -> None:
    found = Corrupted(images(), SETTINGS, SEED)
    rows = {
        who: found.rows(answers(6 * N, seed), found.labels(0, N)) for seed, who in enumerate(("parent", "ensemble"))
    }
    table = found.table(rows)
    assert list(table) == ["contrast", "gaussian_noise"] and set(table["contrast"]) == {"parent", "ensemble"}
    right = answers(6 * N, 1).view(2, 3, N, 4)[1].argmax(-1) == found.labels(0, N)
    assert table["gaussian_noise"]["ensemble"]["accuracy"] == pytest.approx(float(right.double().mean()))
    mean = np.mean([table[kind]["parent"]["ece"] for kind in table])
    assert ece_of(rows["parent"]).score == pytest.approx(mean)


def test_published_files_are_used_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corrupted, "WHOLE", 20)
    files = {
        kind: np.random.default_rng(i).integers(0, 256, (100, 16, 16, 3), dtype=np.uint8)
        for i, kind in enumerate(SETTINGS.kinds)
    }
    for kind, pixels in files.items():
        np.save(tmp_path / f"{kind}.npy", pixels)
    found = Corrupted(images(), SETTINGS, SEED, tmp_path)
    batches = torch.cat(list(found.batches(0, N, 10))).unflatten(0, (2, 3, N))
    place = int(images().places[2])
    assert np.array_equal(batches[1, 2, 2].permute(1, 2, 0).numpy(), files["gaussian_noise"][4 * 20 + place])
    (tmp_path / "contrast.npy").write_bytes(b"no array")
    with pytest.raises(ProblemError, match=r"contrast\.npy: expected 100 images"):
        next(Corrupted(images(), SETTINGS, SEED, tmp_path).batches(0, N, 10))
    assert Corrupted(images(), SETTINGS, SEED, tmp_path / "none").folder is None
