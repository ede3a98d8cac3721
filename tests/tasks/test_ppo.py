import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from fresh import ENVIRONMENT
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from evoens.errors import CheckpointError, ConfigError
from evoens.settings.procgen import Levels, PPOSettings, ProcgenSettings, SplitLevels
from evoens.storage.checkpoint import CheckpointStore, RunLock
from evoens.tasks.ppo import export_from, load_policy, train_parent
from evoens.tasks.sb3 import Training

ROLLOUT = 4 * 16
SETTINGS = PPOSettings(
    steps=6 * ROLLOUT, network=(4, 4, 4), envs=4, rollout=16, minibatches=2, epochs=2, cooldown=0.5, target_kl=None
)
PROBLEM = ProcgenSettings(game="bigfish", levels=SplitLevels(train=Levels(start=7, count=90)))
SEED = 3


@pytest.fixture(scope="module", autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def train(folder, **kwargs):
    return train_parent(SETTINGS, PROBLEM, SEED, folder, tensorboard=False, **kwargs)


def newest(folder):
    saved, skipped = CheckpointStore(folder / "checkpoints").latest()
    assert skipped == []
    return saved


def timeless(value):
    """The same without wall-clock times."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if "second" not in k}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def assert_same(found, expected):
    assert timeless(found.state) == timeless(expected.state)
    assert found.tensors.keys() == expected.tensors.keys()
    assert [k for k, v in expected.tensors.items() if not torch.equal(v, found.tensors[k])] == []


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    folder = tmp_path_factory.mktemp("unbroken")
    reports = []
    trained = train(folder, on_progress=reports.append)
    assert [r.steps for r in reports] == [ROLLOUT * i for i in range(1, 7)]
    assert trained.steps == SETTINGS.steps == reports[-1].total
    assert reports[-1].seconds_left == 0
    return folder


def test_the_learning_rate_falls_on_a_line_at_the_end(unbroken, tmp_path):
    rates = [row["learning_rate"] for row in newest(unbroken).state["curve"]]
    assert rates == pytest.approx([5e-4] * 4 + [5e-4 * 2 / 3, 5e-4 / 3])
    constant = SETTINGS.model_copy(update={"cooldown": None})
    train_parent(constant, PROBLEM, SEED, tmp_path, tensorboard=False, stop_after=4 * ROLLOUT)
    assert [row["learning_rate"] for row in newest(tmp_path).state["curve"]] == [5e-4] * 4


def test_resumed_is_unbroken_bit_for_bit(unbroken, tmp_path):
    for stop in (ROLLOUT, 4 * ROLLOUT, None):
        random.seed(0), np.random.seed(1), torch.manual_seed(2)  # noqa: NPY002
        train(tmp_path, stop_after=stop)
    assert_same(newest(tmp_path), newest(unbroken))


def test_another_seed_is_another_training(unbroken, tmp_path):
    train_parent(SETTINGS, PROBLEM, SEED + 1, tmp_path, tensorboard=False, stop_after=ROLLOUT)
    train(tmp_path / "same", stop_after=ROLLOUT)
    one, two = newest(tmp_path).tensors, newest(tmp_path / "same").tensors
    assert not torch.equal(one["policy/action_net.weight"], two["policy/action_net.weight"])
    assert not torch.equal(one["frames"], two["frames"])


def test_a_finished_training_is_left_alone(unbroken):
    before = newest(unbroken)
    train(unbroken)
    assert_same(newest(unbroken), before)


def test_a_flipped_byte_falls_back_and_says_so(unbroken, tmp_path):
    shutil.copytree(unbroken, tmp_path, dirs_exist_ok=True)
    path = tmp_path / "checkpoints" / f"{SETTINGS.steps:08d}" / "tensors.safetensors"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.warns(UserWarning, match=r"tensors\.safetensors is damaged"):
        train(tmp_path)
    assert_same(newest(tmp_path), newest(unbroken))


DRIVER = """
import sys; from pathlib import Path
import torch; torch.set_num_threads(1)
from tests.tasks.test_ppo import train
train(Path(sys.argv[1]), on_progress=lambda p: print(p.steps, flush=True))
"""


def test_survives_kill_9(unbroken, tmp_path):
    args = [sys.executable, "-c", DRIVER, str(tmp_path)]
    with subprocess.Popen(args, stdout=subprocess.PIPE, env=ENVIRONMENT) as process:
        process.stdout.readline()
        time.sleep(random.random() * 0.4)
        process.send_signal(signal.SIGKILL)
    assert ROLLOUT <= newest(tmp_path).step < SETTINGS.steps
    train(tmp_path)
    assert_same(newest(tmp_path), newest(unbroken))


def test_refuses_to_go_on_otherwise(unbroken, tmp_path, monkeypatch):
    shutil.copytree(unbroken, tmp_path, dirs_exist_ok=True)
    changed = SETTINGS.model_copy(update={"gamma": 0.9, "steps": 7 * ROLLOUT})
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 8)
        with pytest.raises(CheckpointError) as caught:
            train_parent(changed, PROBLEM, SEED, tmp_path, tensorboard=False)
    assert "settings.gamma: expected 0.999 (in the checkpoint), found 0.9" in str(caught.value)
    assert "machine.threads: expected 1 (in the checkpoint), found 8" in str(caught.value)
    assert "steps" not in str(caught.value)
    with pytest.warns(UserWarning, match=r"settings\.gamma"):
        trained = train_parent(changed, PROBLEM, SEED, tmp_path, tensorboard=False, force=True)
    assert trained.steps == 7 * ROLLOUT


def test_refuses_another_network_even_with_force(unbroken, tmp_path):
    shutil.copytree(unbroken, tmp_path, dirs_exist_ok=True)
    changed = SETTINGS.model_copy(update={"network": (4, 4, 5), "steps": 7 * ROLLOUT})
    with pytest.warns(UserWarning, match="network"), pytest.raises(CheckpointError, match=r"expected \(5, 4, 3, 3\)"):
        train_parent(changed, PROBLEM, SEED, tmp_path, tensorboard=False, force=True)


def test_one_process_a_folder(unbroken):
    with RunLock(unbroken), pytest.raises(CheckpointError, match=f"held by process {os.getpid()}"):
        train(unbroken)


def test_minibatches_must_divide(tmp_path):
    with pytest.raises(ConfigError, match=r"divisor of envs × rollout \(64\), found 3"):
        train_parent(SETTINGS.model_copy(update={"minibatches": 3}), PROBLEM, SEED, tmp_path)


def test_ctrl_c_leaves_the_last_rollout(unbroken, tmp_path):
    def interrupt(progress):
        if progress.steps == 2 * ROLLOUT:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, on_progress=interrupt)
    assert newest(tmp_path).step == 2 * ROLLOUT
    train(tmp_path)
    assert_same(newest(tmp_path), newest(unbroken))


def test_settings_reach_the_ppo():
    settings = PPOSettings(network=(4, 4, 4), envs=2, rollout=8, minibatches=4, target_kl=0.02)
    training = Training(settings, PROBLEM, SEED, "float32")
    model = training.model
    group = model.policy.optimizer.param_groups[0]
    assert (model.n_steps, model.batch_size, model.n_epochs, model.n_envs) == (8, 4, 3, 2)
    assert (model.gamma, model.gae_lambda, model.ent_coef, model.vf_coef) == (0.999, 0.95, 0.01, 0.25)
    assert (model.max_grad_norm, model.target_kl, model.clip_range(1.0)) == (0.5, 0.02, 0.2)
    assert (group["lr"], group["eps"]) == (5e-4, 1e-5)
    assert (training.normalize.gamma, training.normalize.norm_obs) == (0.999, False)
    assert model.policy.mlp_extractor.latent_dim_pi == 256
    weight = model.policy.features_extractor.impala.blocks[0].conv.weight
    assert weight.shape[1] == 6
    assert weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_trains_in_either_precision(precision):
    training = Training(SETTINGS, PROBLEM, SEED, precision)
    before = [p.detach().clone() for p in training.model.policy.parameters()]
    record = training.rollout_and_update()
    assert all(np.isfinite(v) for v in record.values() if v is not None)
    after = list(training.model.policy.parameters())
    assert all(p.dtype == torch.float32 and not torch.equal(p, b) for p, b in zip(after, before, strict=True))


def test_tensorboard_has_every_rollout_once(tmp_path):
    train_parent(SETTINGS, PROBLEM, SEED, tmp_path, stop_after=3 * ROLLOUT)
    newest_one = max((tmp_path / "checkpoints").iterdir())
    shutil.rmtree(newest_one)  # as if killed after the scalars of a rollout whose checkpoint was lost
    train_parent(SETTINGS, PROBLEM, SEED, tmp_path)
    events = EventAccumulator(str(tmp_path / "tb")).Reload()
    assert [e.step for e in events.Scalars("value_loss")] == [ROLLOUT * i for i in range(1, 7)]
    curve = newest(tmp_path).state["curve"]
    assert [e.value for e in events.Scalars("value_loss")] == pytest.approx([r["value_loss"] for r in curve])


def test_exported_policy_acts_as_sb3s(unbroken, tmp_path):
    path = export_from(unbroken, tmp_path / "parents" / "fish")
    policy, _ = load_policy(path)
    assert not policy.training
    training = Training(SETTINGS, PROBLEM, SEED, "float32")
    training.restore(newest(unbroken).state, newest(unbroken).tensors)
    frames = newest(unbroken).tensors["frames"]
    expected = training.model.policy.get_distribution(frames).distribution.logits
    torch.testing.assert_close(policy(frames.permute(0, 3, 1, 2)).log_softmax(1), expected)


def test_card_says_where_the_parent_is_from(unbroken, tmp_path):
    assert export_from(unbroken, tmp_path / "fish", command="how") == tmp_path / "fish.safetensors"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["fish.json", "fish.safetensors"]
    card = json.loads((tmp_path / "fish.json").read_text())
    assert card == load_policy(tmp_path / "fish")[1]
    weights = load_file(tmp_path / "fish.safetensors")
    assert card["weights"] == sum(w.numel() for w in weights.values())
    expected = {
        "game": "bigfish",
        "difficulty": "easy",
        "frame_stack": 2,
        "levels": {"start": 7, "count": 90},
        "network": [4, 4, 4],
        "seed": SEED,
        "steps": SETTINGS.steps,
        "command": "how",
        "ppo": SETTINGS.model_dump(mode="json", exclude={"steps"}),
    }
    assert {key: card[key] for key in expected} == expected
    assert [r["steps"] for r in card["curve"]] == [ROLLOUT * i for i in range(1, 7)]


def test_long_curves_are_thinned(unbroken, tmp_path):
    saved = newest(unbroken)
    curve = [{**saved.state["curve"][-1], "steps": i} for i in range(1000)]
    CheckpointStore(tmp_path / "checkpoints").save(9, {**saved.state, "curve": curve}, saved.tensors)
    steps = [r["steps"] for r in load_policy(export_from(tmp_path, tmp_path / "fish"))[1]["curve"]]
    assert (len(steps), steps[0], steps[-1]) == (200, 0, 999)
    assert steps == sorted(set(steps))


def test_damaged_parents_are_refused(unbroken, tmp_path):
    weights = export_from(unbroken, tmp_path / "fish")
    good = weights.read_bytes()
    for bad in (good[:-1], good[:500] + bytes([good[500] ^ 1]) + good[501:]):
        weights.write_bytes(bad)
        with pytest.raises(
            CheckpointError, match=rf"fish\.safetensors: expected {len(good)} bytes.*found {len(bad)} bytes"
        ):
            load_policy(weights)
    weights.unlink()
    with pytest.raises(CheckpointError, match=r"fish\.safetensors: expected a parent's weights"):
        load_policy(weights)
    (tmp_path / "fish.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"fish\.json: expected a parent's card"):
        load_policy(weights)


def test_nothing_to_export(tmp_path):
    with pytest.raises(CheckpointError, match="expected a training with a checkpoint"):
        export_from(tmp_path, tmp_path / "fish")
