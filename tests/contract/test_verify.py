"""Verify: the published vectors on this machine, and every file of a folder that carries a hash."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from tiny import TinyProblem, tiny_parent

from evoens import noise
from evoens.contract import verify
from evoens.ensemble import Ensemble
from evoens.errors import CheckpointError
from evoens.genome import Genome
from evoens.plugins.spec import load_class, locate
from evoens.storage.checkpoint import CheckpointStore
from evoens.strategy import Strategy

ARGUMENTS = {"sigma": 0.1, "density": 0.5, "parts": 2}
OWN = "from evoens_strategies.noisy import Noisy\n\n\nclass Mine(Noisy):\n    pass\n"


def failed(path: Path | None = None) -> list[str]:
    return [check.name for check in verify.verify(path, trust=True) if not check.ok]


@pytest.fixture
def run(tiny_problem: TinyProblem, tmp_path: Path) -> Path:
    """A run's folder as far as hashes go: two members of an own Strategy file, two checkpoints, a population."""
    (tmp_path / "mine.py").write_text(OWN)
    located = locate("mine.py:Mine", [tmp_path])
    strategy = load_class(located, Strategy)(**ARGUMENTS)
    genomes = strategy.ask(2, Random(0))
    folder = tmp_path / "run"
    about = {"unit": "accuracy", "problem": {"game": "σ"}}
    Ensemble(tiny_problem.parent, strategy, genomes).save(folder / "ensemble", located, ARGUMENTS, about)
    store = CheckpointStore(folder / "checkpoints")
    for step in (1, 2):
        store.save(step, {"step": step}, {"weights": torch.ones(3) * step})
    rows = [{"generation": 0, "key": g.key, "genome": g.to_json(), "status": "ok", "fitness": 0.5} for g in genomes]
    (folder / "population.jsonl").write_text("".join(json.dumps(row, sort_keys=True) + "\n" for row in rows))
    return folder


# ---- vectors


def test_this_machine_draws_the_published_bits() -> None:
    assert failed() == []


def test_the_published_numbers_are_those_of_the_tests() -> None:
    from tests import test_noise

    assert {k: list(v) for k, v in verify.NORMALS.items()} == {k: v[:5] for k, v in test_noise.NORMALS.items()}
    assert (verify.TABLE_SHA256, verify.STREAM_SHA256) == (test_noise.TABLE_SHA256, test_noise.LONG_SHA256)
    for mask, places in verify.KEPT.items():
        assert places == tuple(place for place, holds in enumerate(test_noise.oracle_mask(mask, 16)) if holds)
    words = test_noise.oracle_words(0, "step 7:conv.weight", 16)
    turned = {place for place, word in enumerate(words) if word < 30_000 * 3 // 4}
    assert set(verify.TARGET) ^ turned == set(verify.ANNEALED)


@pytest.fixture
def table() -> Iterator[np.ndarray]:
    """The table of quantiles, open to change for one test."""
    found = noise.quantiles()
    kept = found.copy()
    found.setflags(write=True)
    yield found
    found[:] = kept
    found.setflags(write=False)


def test_one_bit_of_the_table_is_noticed(table: np.ndarray) -> None:
    table[60_000] = np.nextafter(table[60_000], np.float32(9))
    assert failed() == ["table of quantiles", "long stream"]


def test_another_table_is_noticed_in_every_stream(table: np.ndarray) -> None:
    table[:] = -table
    assert failed() == ["table of quantiles", "normals", "long stream", "rounding"]


def test_another_rule_for_annealed_masks_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    turned = noise.annealed_mask
    monkeypatch.setattr(noise, "annealed_mask", lambda seed, *rest: turned(seed + 1, *rest))
    assert failed() == ["annealed masks"]


def test_another_rule_for_masks_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    keep = noise.keep
    monkeypatch.setattr(noise, "keep", lambda mask, *rest: keep(replace(mask, seed=mask.seed + 1), *rest))
    assert failed() == ["masks"]


def test_a_fused_multiply_add_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fused(value: torch.Tensor, factor: float) -> torch.Tensor:
        return value.double() * float(np.float32(factor))  # exact, until the sum is rounded, once

    bits, weight = verify._bits, float(np.float32(0.015))
    monkeypatch.setattr(torch.Tensor, "mul_", fused)
    monkeypatch.setattr(torch, "full_like", lambda like, value: torch.tensor(weight, dtype=torch.float64))
    monkeypatch.setattr(verify, "_bits", lambda values: bits(values.float()))
    assert failed() == ["rounding"]


# ---- folders


def test_a_whole_run_is_as_it_was_written(run: Path) -> None:
    names = [check.name for check in verify.folder_checks(run, trust=True)]
    assert failed(run) == []
    members = ["genomes.json", "parent", "strategy", "member 0", "member 1"]
    assert names == [*members, "checkpoint 00000002", "checkpoint 00000001", "population.jsonl"]


def test_an_ensembles_folder_alone_is_checked(run: Path) -> None:
    assert len(verify.folder_checks(run / "ensemble", trust=True)) == 5
    assert failed(run / "ensemble") == []


FILES = {  # file -> the checks that may fail when one byte of it is changed
    "ensemble/parent.safetensors": ["parent"],
    "ensemble/mine.py": ["strategy"],
    "checkpoints/00000002/state.json": ["checkpoint 00000002"],
    "checkpoints/00000002/tensors.safetensors": ["checkpoint 00000002"],
    "checkpoints/00000001/tensors.safetensors": ["checkpoint 00000001"],
    "checkpoints/00000001/manifest.json": ["checkpoint 00000001"],
}


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_byte_fails_the_check_of_its_file(run: Path, name: str) -> None:
    data = (run / name).read_bytes()
    for place in range(0, len(data), max(1, len(data) // 10)):
        (run / name).write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        assert [c.name for c in verify.folder_checks(run, trust=True) if not c.ok] == FILES[name], place
    (run / name).write_bytes(data)
    assert failed(run) == []


def test_any_flipped_byte_of_the_description_is_noticed(run: Path) -> None:
    path = run / "ensemble" / "genomes.json"
    data = path.read_bytes()
    for place in range(0, len(data), 17):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        broken = [c.name for c in verify.folder_checks(run, trust=True) if not c.ok]
        assert broken[:1] == ["genomes.json"], place


def test_any_flipped_byte_of_a_genome_fails_the_population(run: Path) -> None:
    path = run / "population.jsonl"
    data = path.read_bytes()
    first = data.index(b'"genome"')
    for place in range(first, data.index(b'"status"') - 2, 5):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        (broken,) = [c for c in verify.folder_checks(run, trust=True) if not c.ok]
        assert (broken.name, broken.detail) == ("population.jsonl", "damaged lines: 1"), place


def change(run: Path, edit: Any) -> None:
    """Change the description and give it its own hash anew, as a forger or another version of the code would."""
    from evoens.ensemble import description_sha256

    path = run / "ensemble" / "genomes.json"
    document = json.loads(path.read_text())
    edit(document)
    document["sha256"] = description_sha256(document)
    path.write_text(json.dumps(document))


def test_a_member_that_comes_out_otherwise_is_named(run: Path) -> None:
    def edit(document: dict[str, Any]) -> None:
        genome = Genome.from_json(document["members"][0]["genome"])
        document["members"][1] |= {"genome": genome.to_json(), "key": genome.key}

    change(run, edit)
    assert failed(run) == ["member 1"]


def test_a_wrong_key_and_a_wrong_fingerprint_are_named(run: Path) -> None:
    change(run, lambda document: document["members"][0].update(key="0" * 64))
    assert failed(run) == ["member 0"]
    change(run, lambda document: document["parent"].update(fingerprint="0" * 64))
    assert failed(run) == ["parent"]  # and its members are not rebuilt from it


@pytest.mark.parametrize("key", ["parent", "strategy", "architecture", "members"])
def test_a_description_without_a_part_says_so(run: Path, key: str) -> None:
    change(run, lambda document: document.pop(key))
    expected = {"architecture": ["parent"], "members": ["members"]}.get(key, [key])
    assert failed(run) == expected


@pytest.mark.parametrize("name", ["ensemble/parent.safetensors", "ensemble/mine.py", "ensemble/genomes.json"])
def test_a_missing_file_is_named(run: Path, name: str) -> None:
    (run / name).unlink()
    (broken,) = [check for check in verify.folder_checks(run, trust=True) if not check.ok]
    assert Path(name).name in broken.detail


def test_a_run_still_going_has_checkpoints_only(tmp_path: Path) -> None:
    CheckpointStore(tmp_path / "checkpoints").save(3, {})
    assert [check.name for check in verify.folder_checks(tmp_path)] == ["checkpoint 00000003"]


def test_a_folder_of_neither_kind_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(CheckpointError, match="expected the folder of a run or of an ensemble"):
            verify.verify(path)


def test_the_parent_of_the_tests_is_the_one_saved(run: Path) -> None:
    """The hash in the file is that of the weights, not of something the file says of itself."""
    document = json.loads((run / "ensemble" / "genomes.json").read_text())
    assert document["parent"]["fingerprint"] == tiny_parent().fingerprint
