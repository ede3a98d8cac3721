import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from fresh import ENVIRONMENT
from safetensors import safe_open

from evoens.errors import CheckpointError
from evoens.storage.checkpoint import CheckpointStore, RunLock, require_same

FLOATS = [0.1, -0.0, 5e-324, 1.7976931348623157e308, float("inf"), 1 / 3]


def tensors_of(step):
    generator = torch.Generator().manual_seed(step)
    return {"w": torch.randn(64, 64, generator=generator), "step": torch.tensor(step)}


def save_steps(folder, *steps):
    store = CheckpointStore(folder)
    for step in steps:
        store.save(step, {"step": step}, tensors_of(step))
    return store


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) and a[k].dtype == b[k].dtype for k in a)


def test_state_comes_back_exactly(tmp_path):
    state = {"floats": FLOATS, "big": 2**200, "text": "σ", "nested": {"none": None, "list": [1, [2.5]]}}
    tensors = {
        "bytes": torch.arange(256, dtype=torch.uint8),
        "half": torch.randn(3, 4).bfloat16(),
        "double": torch.randn(2, dtype=torch.float64),
        "layout": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        "transposed": torch.randn(3, 4).t(),
        "scalar": torch.tensor(7),
        "empty": torch.empty(0, 3),
    }
    store = CheckpointStore(tmp_path)
    folder = store.save(12, state, tensors)
    assert folder.name == "00000012"
    saved, skipped = store.latest()
    assert (saved.step, saved.state, skipped) == (12, state, [])
    assert [f.hex() for f in saved.state["floats"]] == [f.hex() for f in FLOATS]
    assert same(saved.tensors, tensors)


def test_layout_on_disk(tmp_path):
    folder = save_steps(tmp_path, 3).folder / "00000003"
    manifest = json.loads((folder / "manifest.json").read_text())
    assert sorted(p.name for p in folder.iterdir()) == ["manifest.json", "state.json", "tensors.safetensors"]
    for name, entry in manifest["files"].items():
        data = (folder / name).read_bytes()
        assert entry == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    with safe_open(folder / "tensors.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("w"), tensors_of(3)["w"])


def test_keeps_the_newest_by_number(tmp_path):
    save_steps(tmp_path, 5, 99_999_999, 100_000_000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["100000000", "99999999"]
    assert CheckpointStore(tmp_path).latest()[0].step == 100_000_000


def test_nothing_saved(tmp_path):
    assert CheckpointStore(tmp_path / "not there").latest() == (None, [])


@pytest.mark.parametrize("name", ["state.json", "tensors.safetensors", "manifest.json"])
def test_a_flipped_byte_is_never_loaded(tmp_path, name):
    store = save_steps(tmp_path, 1, 2)
    path = tmp_path / "00000002" / name
    good = path.read_bytes()
    draw = random.Random(0)
    for place in {0, len(good) - 1, *(draw.randrange(len(good)) for _ in range(60))}:
        path.write_bytes(good[:place] + bytes([good[place] ^ 1 << draw.randrange(8)]) + good[place + 1 :])
        saved, skipped = store.latest()
        if saved.step == 1:
            assert len(skipped) == 1
            assert "00000002" in skipped[0]
        assert saved.state == {"step": saved.step}
        assert same(saved.tensors, tensors_of(saved.step))
        if name != "manifest.json":  # its white space may change unseen
            assert saved.step == 1
            assert "damaged" in skipped[0]
            assert name in skipped[0]


@pytest.mark.parametrize("name", ["state.json", "tensors.safetensors", "manifest.json"])
def test_truncated_or_missing_falls_back(tmp_path, name):
    store = save_steps(tmp_path, 1, 2)
    path = tmp_path / "00000002" / name
    path.write_bytes(path.read_bytes()[:-3])
    assert store.latest()[0].step == 1
    path.unlink()
    saved, (sentence,) = store.latest()
    assert saved.step == 1
    assert f"{name} is missing" in sentence
    store.save(2, {"step": 2}, tensors_of(2))  # the damaged one is replaced
    assert store.latest()[0].step == 2
    assert store.latest()[1] == []


def test_leftovers_are_cleaned(tmp_path):
    (tmp_path / ".unfinished-7").mkdir()
    (tmp_path / ".unfinished-7" / "state.json").write_text("half")
    assert CheckpointStore(tmp_path).latest() == (None, [])
    save_steps(tmp_path, 8)
    assert [p.name for p in tmp_path.iterdir()] == ["00000008"]


WRITER = """
import sys; from pathlib import Path
from tests.storage.test_checkpoint import CheckpointStore, tensors_of
store = CheckpointStore(Path(sys.argv[1]))
saved, skipped = store.latest()
assert not skipped, skipped
step = saved.step if saved else 0
print("ready", flush=True)
while True:
    step += 1
    store.save(step, {"step": step}, tensors_of(step))
"""


def test_survives_kill_9_at_any_moment(tmp_path):
    draw = random.Random(1)
    last = 0
    for _ in range(3):
        args = [sys.executable, "-c", WRITER, str(tmp_path)]
        with subprocess.Popen(args, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
            process.stdout.readline()
            time.sleep(0.1 + draw.random() * 0.3)
            process.send_signal(signal.SIGKILL)
        saved, skipped = CheckpointStore(tmp_path).latest()
        assert skipped == []
        assert saved.step > last
        assert saved.state == {"step": saved.step}
        assert same(saved.tensors, tensors_of(saved.step))
        last = saved.step


HOLDER = """
import sys, time; from pathlib import Path
from evoens.storage.checkpoint import RunLock
with RunLock(Path(sys.argv[1])):
    print("held", flush=True); time.sleep(60)
"""


def test_a_folder_belongs_to_one_process_until_it_dies(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        with pytest.raises(CheckpointError, match=f"{tmp_path.name}.*held by process {process.pid}"), RunLock(tmp_path):
            pass
        process.kill()
        process.wait()
        with RunLock(tmp_path):
            assert (tmp_path / ".lock").read_text() == f"{os.getpid()}\n"
    with RunLock(tmp_path):
        pass


def test_require_same_names_every_difference(tmp_path):
    now = {"seed": 1, "ppo": {"envs": 4, "gamma": 0.9}, "new": 1}
    saved = {"seed": 0, "ppo": {"envs": 4, "gamma": 0.99}}
    assert require_same(now, now, tmp_path, force=False) == []
    with pytest.raises(CheckpointError) as caught:
        require_same(now, saved, tmp_path, force=False)
    differences = require_same(now, saved, tmp_path, force=True)
    assert [d.split(":")[0] for d in differences] == ["new", "ppo.gamma", "seed"]
    assert all(d in str(caught.value) for d in differences)
    assert "ppo.gamma: expected 0.99 (in the checkpoint), found 0.9" in differences
