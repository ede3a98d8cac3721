import fcntl
import json
from pathlib import Path

import pytest
import torch
from parents import write_parent
from safetensors.torch import save_file
from sample_run import write_run
from torch import nn

from evoens.commands import inspection
from evoens.errors import CheckpointError


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "runs" / "one"
    write_run(folder, generations=3)
    (folder / "config.resolved.yaml").write_text("name: one\nsearch: {generations: 5}\n")
    return folder


def state(run: Path) -> str:
    (found,) = inspection.runs(run.parent)
    return str(found["state"])


def test_the_state_of_a_run(run: Path) -> None:
    assert state(run) == "finished"
    (run / "report.json").unlink()
    assert state(run) == "stopped after 3 of 5 generations"
    with (run / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert state(run) == "running"
    assert state(run) == "stopped after 3 of 5 generations"
    (run / "history.json").unlink()
    assert state(run) == "stopped before its first generation ended"
    (run / "history.json").write_text("{")
    assert state(run).startswith("damaged: ")


def test_a_run_that_trains_its_parent_is_running(run: Path) -> None:
    (run / "report.json").unlink()
    (run / "parent").mkdir()
    with (run / "parent" / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert state(run) == "running"


def test_looking_at_a_lock_does_not_take_it(run: Path) -> None:
    with (run / ".lock").open("w") as lock:
        assert not inspection.in_use(run)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_run(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "population.jsonl").read_text().splitlines()]
    best = max((row for row in rows if row["status"] == "ok"), key=lambda row: row["fitness"])
    found = inspection.inspect(run)
    assert found["kind"] == "run"
    assert found["best"] == {name: best[name] for name in ("key", "generation", "fitness")}
    assert (found["children"], found["failed"], found["generations"]) == (48, 1, "3 of 5")
    assert len(found["members"]) == 8


def test_a_child_by_the_beginning_of_its_key(run: Path) -> None:
    row = json.loads((run / "population.jsonl").read_text().splitlines()[5])
    assert inspection.inspect(run, row["key"][:4]) == {"kind": "child", **row}
    assert inspection.inspect(run / "population.jsonl", row["key"]) == {"kind": "child", **row}
    with pytest.raises(CheckpointError, match="begins with 0, found 48 of them"):
        inspection.inspect(run, "0")
    with pytest.raises(CheckpointError, match="begins with xyz, found none"):
        inspection.inspect(run, "xyz")
    with pytest.raises(CheckpointError, match=r"expected a run's population\.jsonl, found no such file"):
        inspection.inspect(run / "pictures", "0")


def test_an_ensemble(tmp_path: Path) -> None:
    document = {"format": 1, "members": [{"key": "ab", "genome": [{}, {}], "weights_sha256": "c"}]}
    (tmp_path / "genomes.json").write_text(json.dumps(document))
    found = inspection.inspect(tmp_path)
    assert found["members"] == [{"key": "ab", "genes": 2}]
    assert found["bytes"] == (tmp_path / "genomes.json").stat().st_size
    assert inspection.inspect(tmp_path / "genomes.json") == found
    (tmp_path / "genomes.json").write_text("{")
    with pytest.raises(CheckpointError, match="expected an ensemble's description, found damage"):
        inspection.inspect(tmp_path)


def test_a_parent_without_its_curve(tmp_path: Path) -> None:
    path = write_parent(tmp_path / "a.safetensors")
    found = inspection.inspect(path)
    assert (found["kind"], found["steps"]) == ("parent", 1_000_000)
    assert "curve" not in found
    assert inspection.inspect(path.with_suffix(".json")) == found


def test_weights_that_others_wrote(tmp_path: Path) -> None:
    weights = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).state_dict()
    wrapped = {f"module.{name}": value for name, value in weights.items()}
    torch.save({"epoch": 3, "model": wrapped, "ema": {"a": weights}}, tmp_path / "w.pt")
    found = inspection.inspect(tmp_path / "w.pt")
    assert found["kind"] == "weights" and list(found["state_dicts"]) == ["model", "ema.a"]
    shapes = {f"module.{name}": "×".join(map(str, value.shape)) or "a number" for name, value in weights.items()}
    expected = {"tensors": 7, "numbers": 6 + 2 + 4 * 2 + 1, "wrapped_by": ["module"], "shapes": shapes}
    assert found["state_dicts"]["model"] == expected and found["state_dicts"]["ema.a"]["wrapped_by"] == []
    save_file(weights, tmp_path / "w.safetensors")
    assert list(inspection.inspect(tmp_path / "w.safetensors")["state_dicts"]) == ["the file itself"]
    torch.save({"epoch": 3}, tmp_path / "w.pt")
    with pytest.raises(CheckpointError, match=r"w.pt: expected a state dict, tensors by name, found none in it"):
        inspection.inspect(tmp_path / "w.pt")


def test_what_is_none_of_these(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="expected a run's folder, an ensemble's folder or a parent"):
        inspection.inspect(tmp_path)


def test_problems_and_strategies_say_what_they_are() -> None:
    about = {row["name"]: row["about"] for row in inspection.problems()}
    assert about["procgen_bigfish"].startswith("Procgen bigfish on two cores")
    assert "dissertation" in about["procgen_bigfish_paper"]
    assert all(row["about"].endswith(".") for row in inspection.strategies())
