"""The registry of diversity measures: what every row must hold, and that a row from outside is found everywhere."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine
from scipy.stats import entropy
from tensorboard.backend.event_processing.event_accumulator import SCALARS, TENSORS, EventAccumulator
from tiny_run import config, execute
from torch import Tensor

from evoens.commands.explain import explain
from evoens.diversity.hashes import hash_bits
from evoens.diversity.measures import BITS, MEASURES, Measure, of_outputs
from evoens.report.glossary import Glossary
from evoens.settings.config import SearchSettings

OUTSIDE = """
def total_variation(p, q):
    return (p[:, None].double() - q[None].double()).abs().sum(-1).mean(-1) / 2

def corner(seen):
    return seen.rgb[:, 0, :4, 0] > 127
"""
ADDED = (
    Measure("tv", "total variation", "share", "outside_measures:total_variation", meaning="Half the L1 distance."),
    Measure("corner", "corner hash", "share of bits", BITS, "outside_measures:corner"),
)


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside_measures.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    for measure in ADDED:
        monkeypatch.setitem(MEASURES, measure.name, measure)


def members(measure: Measure, k: int = 4) -> Tensor:
    """What a measure compares: probabilities `(k, n, c)`, or the bits of a hash of k members' pictures."""
    if measure.hash is None:
        return torch.softmax(3 * torch.randn(k, 7, 5, generator=torch.Generator().manual_seed(0)), -1)
    return hash_bits(np.random.default_rng(0).integers(0, 256, (k, 7, 12, 12, 3), np.uint8))[measure.name]


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES)
def test_contract(measure: Measure) -> None:
    """A distance is symmetric, 0 to oneself and to whoever is equal, finite, and follows the members' order."""
    seen, order = members(measure), torch.tensor([2, 0, 3, 1])
    found = measure.distances(seen)
    assert found.shape == (4, 4) and found.dtype == torch.float64 and found.isfinite().all()
    assert torch.allclose(found, found.T) and torch.allclose(found.diagonal(), torch.zeros(4).double(), atol=1e-9)
    assert torch.allclose(measure.distances(seen[order]), found[order][:, order])
    assert torch.allclose(measure.distances(seen[[0, 0]]), torch.zeros(2, 2).double(), atol=1e-9)
    assert (found + torch.eye(4) > 0).all()
    assert measure.title and measure.unit and (not measure.meaning or measure.meaning.endswith("."))


@pytest.mark.parametrize("measure", [m for m in MEASURES.values() if m.hash], ids=lambda m: m.name)
def test_distance_of_hashes_is_the_share_of_bits(measure: Measure) -> None:
    a, b = members(measure, 2).numpy()
    assert float(measure.distances(members(measure, 2))[0, 1]) == pytest.approx(np.mean(a != b))


def test_distance_of_outputs_is_scipy_s_or_numpy_s() -> None:
    a, b = members(MEASURES["kl"], 2).double().numpy()
    expected = {
        "kl": np.mean((entropy(a, b, axis=-1) + entropy(b, a, axis=-1)) / 2),
        "disagreement": np.mean(a.argmax(-1) != b.argmax(-1)),
        "correlation": np.mean([1 - np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)]),
        "cosine": np.mean([cosine(x, y) for x, y in zip(a, b, strict=True)]),
    }
    assert set(expected) == {measure.name for measure in of_outputs()}
    for name, value in expected.items():
        assert float(MEASURES[name].distances(members(MEASURES[name], 2))[0, 1]) == pytest.approx(value, abs=1e-6)


@pytest.mark.usefixtures("outside", "one_thread")
@pytest.mark.parametrize("measure", ADDED, ids=lambda m: m.name)
def test_a_row_from_outside_is_watched_drawn_reported_and_bred_by(measure: Measure, tmp_path: Path) -> None:
    search = {"diversity": 50.0, "diversity_by": measure.name, "generations": 1}
    execute(tmp_path / "run", config(search=search, selection={"diversity": 1.0, "diversity_by": measure.name}))
    (row,) = json.loads((tmp_path / "run" / "history.json").read_text())["generations"]
    assert 0 < row["diversity"][measure.name]["value"] < 1
    log = EventAccumulator(str(tmp_path / "run" / "tb" / "floor"), {SCALARS: 0}).Reload()
    assert log.Scalars(f"diversity/{measure.name}")[0].value == pytest.approx(row["diversity"][measure.name]["floor"])
    layout = EventAccumulator(str(tmp_path / "run" / "tb"), {TENSORS: 0}).Reload()
    charts = layout.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0]
    assert f"{measure.title}, {measure.unit}".encode() in charts
    assert measure.label in (tmp_path / "run" / "report.html").read_text()


@pytest.mark.usefixtures("outside")
def test_a_row_from_outside_is_explained_and_a_choice() -> None:
    assert 'href="#term-total-variation"' in str(Glossary().linked("total variation"))
    assert SearchSettings(diversity_by="tv").diversity_by == "tv"
    assert explain("search.diversity_by")[0]["expected"].endswith("colour, tv, corner")
