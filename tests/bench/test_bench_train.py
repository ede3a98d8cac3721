"""The sides of the comparison do the same work, and the table has the figures."""

from __future__ import annotations

from io import StringIO

import pytest
import torch
from rich.console import Console

from evoens.bench import train


def test_bare_and_plain_learn_from_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "IMAGES", 64)
    inputs, labels = train._inputs()
    (ours, classes), *more = train._examples().batches(train.BATCH, 0, 0)
    assert not more and len(ours) == 64 and sorted(classes.tolist()) == sorted(labels.tolist())
    torch.testing.assert_close(ours.sum((1, 2, 3)).sort().values, inputs.sum((1, 2, 3)).sort().values)


@pytest.mark.parametrize("name", list(train.CHILDREN))
def test_children_are_masked_in_every_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "IMAGES", 20)
    epoch = train._child(name, train.CHILDREN[name], "float32")
    training = epoch.__self__  # type: ignore[attr-defined]
    masks = training.masking.masks(0.0, 0)
    assert set(masks) == {"conv1.weight", "conv2.weight", "fc1.weight", "fc2.weight"}
    epoch()
    weight = training.module.fc1.weight
    zeros = float((weight == 0).float().mean())
    assert zeros == pytest.approx(0.5, abs=0.01) if name == "sparse" else zeros < 0.01  # lent out, or left out for good


def test_the_table_has_the_figures() -> None:
    result = {name: 1.234 for name in train.TARGETS}
    facts = {"images": 2048, "precision": "float32", "environment": {"processor": "a processor"}}
    console = Console(width=200, record=True, file=StringIO())
    console.print(train.describe({**result, **facts}))
    text = console.export_text()
    assert text.count("1.23") == 4 and "a processor" in text and "at most 1.15" in text


def test_what_is_measured_has_the_names_that_others_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "IMAGES", 20)
    monkeypatch.setattr(train, "ROUNDS", 2)
    monkeypatch.setattr(train, "_plain_in_process", lambda: 3.0)
    found = train.measure()
    took = found["seconds"]
    assert found["ratio_to_bare_loop"] == took["ours"] / took["bare"]
    assert found["speedup_vs_float32_loop"] == 3.0 / took["ours"]
    assert train.TARGETS.keys() <= found.keys()
