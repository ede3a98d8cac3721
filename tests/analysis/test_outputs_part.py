from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score
from subjects import COUNT, subject

from evoens.analysis.outputs import Outputs, size_curve
from evoens.analysis.part import Finding
from evoens.analysis.subject import Subject
from evoens.diversity.measures import MEASURES
from evoens.settings.diversity import OutputSettings


def found(of: Subject) -> Finding:
    part = Outputs(of, OutputSettings(inputs=1000))
    return part.finish([part.step(place) for place in range(part.steps)])


def test_every_measure_stands_beside_its_floor() -> None:
    figures = found(subject()).figures
    pairs = figures["pairs"]
    assert figures["inputs"] == COUNT and figures["members"] == ["member 1", "member 2", "member 3"]
    assert pairs["kl"]["value"] > pairs["kl"]["floor"] > 0
    assert pairs["correlation"]["value"] < pairs["correlation"]["floor"] < 1
    assert len(pairs) == 8 and np.array(figures["matrices"]["q_statistic"]).shape == (3, 3)


def test_equal_members_are_not_apart() -> None:
    pairs = found(subject(move=0.0)).figures["pairs"]
    assert pairs["disagreement"]["value"] == 0 and pairs["kl"]["value"] == pytest.approx(0, abs=1e-12)
    assert pairs["kl"]["floor"] > 0 and pairs["correctness_correlation"]["value"] == pytest.approx(1)


def test_the_parent_is_no_member() -> None:
    with_parent, without = found(subject()), found(subject(parent=False))
    assert with_parent.figures["pairs"] == without.figures["pairs"]


def test_without_classes_nobody_is_right_or_wrong() -> None:
    finding = found(subject(labelled=False))
    assert set(finding.figures["pairs"]) == {"kl", "disagreement", "correlation", "cosine"}
    assert set(finding.figures["together"]) == {"equitability"}
    assert [picture.file for picture in finding.pictures] == ["outputs-pairs.svg"]


def test_another_measure_of_the_registry_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(MEASURES, "own", replace(MEASURES["kl"], name="own", title="own words"))
    finding = found(subject())
    assert finding.figures["pairs"]["own"] == finding.figures["pairs"]["kl"]
    assert "Own words" in [row[0] for row in finding.tables[0].rows]


def test_tables_say_what_the_figures_are() -> None:
    finding = found(subject())
    cells = {row[0]: row[1:] for table in finding.tables for row in table.rows}
    assert cells["KL between members"][0] == f"{finding.figures['pairs']['kl']['value']:.4f}"
    assert cells["Brier score of the ensemble"] == [f"{finding.figures['together']['brier']:.4f}"]
    assert all(picture.data.startswith(b"<?xml") for picture in finding.pictures)


def test_the_curve_of_sizes_ends_with_the_ensemble_and_begins_with_the_members() -> None:
    outputs = torch.softmax(torch.randn(4, 50, 3, generator=torch.Generator().manual_seed(0)), -1)
    labels = torch.randint(3, (50,), generator=torch.Generator().manual_seed(1))
    curve = size_curve(outputs, labels, seed=0)
    alone = [accuracy_score(labels, member.argmax(-1)) for member in outputs]
    assert [row["size"] for row in curve] == [1, 2, 3, 4]
    assert (curve[0]["low"], curve[0]["high"]) == (pytest.approx(min(alone)), pytest.approx(max(alone)))
    assert min(alone) < curve[0]["accuracy"] < max(alone)
    whole = pytest.approx(accuracy_score(labels, outputs.mean(0).argmax(-1)))
    assert curve[-1] == {"size": 4, "accuracy": whole, "low": whole, "high": whole}


def test_of_many_members_not_every_size_is_measured() -> None:
    outputs = torch.softmax(torch.randn(100, 20, 3, generator=torch.Generator().manual_seed(0)), -1)
    sizes = [row["size"] for row in size_curve(outputs, torch.zeros(20, dtype=torch.int64), seed=0)]
    assert sizes[0] == 1 and sizes[-1] == 100 and len(sizes) <= 24 and sizes == sorted(set(sizes))
