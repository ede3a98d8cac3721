"""What corruption does to a classifier: its answers on the same images, corrupted in every kind and severity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from evoens.errors import ProblemError
from evoens.scoring import calibration
from evoens.scoring.metrics import Floats, Places, Statistic, confidence_bins
from evoens.settings.classification import CorruptionSettings
from evoens.tasks.corruption import corrupt
from evoens.tasks.data.images import Images

WHOLE = 10_000  # images of each severity in a file of them, in the order of the test set
BINS = 15
ROOM = 1 << 29  # bytes of corrupted images that are kept
ROWS = ("correct", "nll", "confidence")


class Corrupted:
    """The first images of a test split, corrupted by fixed draws, or as published where those files are there.

    Args:
        images: the test split.
        settings: which kinds and severities, of how many images.
        seed: draws the corruptions.
        folder: of the published files; None to draw.
    """

    def __init__(self, images: Images, settings: CorruptionSettings, seed: int, folder: Path | None = None) -> None:
        self.images, self.settings, self.seed = images.part(0, settings.images), settings, seed
        self.folder = folder if folder is not None and folder.is_dir() else None
        self._kept: dict[tuple[str, int, int, int], Tensor] = {}
        self._room = ROOM

    def __len__(self) -> int:
        """How many images are corrupted."""
        return len(self.images)

    def labels(self, first: int, count: int) -> Tensor:
        """Return the classes of `count` images from the `first`-th on, as far as they reach."""
        return self.images.part(first, count).labels

    def batches(self, first: int, count: int, size: int) -> Iterator[Tensor]:
        """Yield those images, uint8 `(m, c, h, w)`: all in the first kind and severity, all in the next, and so on."""
        part = self.images.part(first, count)
        for kind in self.settings.kinds:
            for severity in self.settings.severities:
                for start in range(0, len(part), size):
                    yield self._batch(part.part(start, size), first + start, kind, severity)

    def _batch(self, part: Images, first: int, kind: str, severity: int) -> Tensor:
        """Return one batch; as many as there is room for are kept, since every competitor sees the same."""
        key = kind, severity, first, len(part)
        if key in self._kept:
            return self._kept[key]
        made = self._made(part, first, kind, severity)
        if made.numel() <= self._room:
            self._kept[key] = made
            self._room -= made.numel()
        return made

    def _made(self, part: Images, first: int, kind: str, severity: int) -> Tensor:
        if self.folder is None:
            return corrupt(part.all(), kind, severity, self.seed, first)
        path = self.folder / f"{kind}.npy"
        try:
            published = np.lib.format.open_memmap(path, mode="r")  # type: ignore[no-untyped-call]
            rows = published[(severity - 1) * WHOLE + part.places.numpy()]
        except (OSError, ValueError, IndexError) as error:
            message = f"{path}: expected {5 * WHOLE} images, ten thousand of each severity: {error}"
            raise ProblemError(message) from error
        return torch.from_numpy(rows).permute(0, 3, 1, 2)

    def rows(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Return what the verdict needs of probabilities on `batches`, in their order, float64.

        `(n, kinds, severities, 3)`: whether the answer was right, its negative log-likelihood in nats, how sure it was.
        """
        kinds, severities, n = len(self.settings.kinds), len(self.settings.severities), len(labels)
        repeated = labels.repeat(kinds * severities)
        values = [
            calibration.correct(outputs, repeated),
            calibration.nll(outputs, repeated),
            calibration.confidence(outputs),
        ]
        return torch.stack(values, dim=-1).view(kinds, severities, n, len(ROWS)).permute(2, 0, 1, 3).contiguous()

    def table(self, rows: Mapping[str, Tensor]) -> dict[str, dict[str, dict[str, float]]]:
        """Return accuracy, NLL and ECE by kind and contestant, each the mean over severities."""
        return {
            kind: {
                who: {"accuracy": accuracy_of(one).score, "nll": nll_of(one).score, "ece": ece_of(one).score}
                for who, whole in rows.items()
                for one in [whole[:, place : place + 1]]
            }
            for place, kind in enumerate(self.settings.kinds)
        }


def accuracy_of(rows: Tensor) -> Statistic:
    """Return the accuracy over all kinds and severities (cAcc) of rows `(n, kinds, severities, 3)` as a statistic."""
    return _mean(rows, 0)


def nll_of(rows: Tensor) -> Statistic:
    """Return the mean negative log-likelihood (cNLL), as `accuracy_of`."""
    return _mean(rows, 1)


def _mean(rows: Tensor, column: int) -> Statistic:
    x = np.asarray(rows)[..., column].mean(axis=(1, 2))
    return Statistic(len(x), lambda places: np.asarray(x[places].mean(axis=1)))


def ece_of(rows: Tensor) -> Statistic:
    """Return the mean over kinds and severities of the calibration error in each (cECE), as `accuracy_of`."""
    x = np.asarray(rows).reshape(len(rows), -1, len(ROWS))
    n, sets, _ = x.shape
    cells = confidence_bins(x[..., 2], BINS) + BINS * np.arange(sets)
    gaps = np.zeros((n, BINS * sets))
    np.put_along_axis(gaps, cells, x[..., 2] - x[..., 0], axis=1)

    def error(places: Places) -> Floats:
        """Sum every resample's gaps in the bins of each set: how often a case was drawn, times its gaps."""
        drawn = np.stack([np.bincount(row, minlength=n) for row in places]).astype(np.float64)
        return np.asarray(np.abs(drawn @ gaps).sum(axis=1) / (places.shape[1] * sets))

    return Statistic(n, error)
