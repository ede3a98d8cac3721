"""A classifier's training against a plain torch loop over the same examples, and that a stop changes no bit of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from evoens.settings.classification import TrainSettings
from evoens.storage.checkpoint import CheckpointStore
from evoens.tasks.data.images import Images, shuffled
from evoens.tasks.data.preprocessing import Normalise
from evoens.tasks.networks.resnet import ResNet
from evoens.tasks.networks.wrn import WideResNet
from evoens.tasks.schedules import momentum, rate
from evoens.tasks.sgd import Examples, NoMasking, Training, draws, seeded

CLASSES, SIDE, SEED = 3, 8, 5
MEAN, STD = (0.5, 0.4, 0.6), (0.2, 0.3, 0.25)

NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * SIDE * SIDE, CLASSES)),
    "batchnorm": lambda: ResNet(CLASSES, 3, [1, 1], width=8),
    "dropout": lambda: WideResNet(CLASSES, 3, depth=10, width=1, dropout=0.3),
}
OPTIMISERS: dict[str, dict[str, Any]] = {
    "adam": {"optimiser": "adam", "learning_rate": 1e-3},
    "adam with decay, one cycle": {
        "optimiser": "adam", "learning_rate": 1e-2, "weight_decay": 0.1, "schedule": "one-cycle",
    },
    "sgd": {"optimiser": "sgd", "learning_rate": 0.02, "momentum": 0.0},
    "nesterov with decay, cosine": {
        "optimiser": "sgd", "learning_rate": 0.02, "weight_decay": 0.1, "schedule": "cosine",
    },
}  # fmt: skip


pytestmark = pytest.mark.usefixtures("one_thread")


def images(n: int = 30) -> Images:
    """Images whose class is seen in their channels, some of a larger pool."""
    rng = np.random.default_rng(0)
    labels = torch.from_numpy(rng.integers(0, CLASSES, 2 * n))
    pixels = rng.integers(0, 200, (2 * n, SIDE, SIDE, 3), np.uint8)
    pixels[np.arange(2 * n), :, :, labels.numpy()] += 40
    places = torch.arange(1, 2 * n, 2)
    return Images(torch.from_numpy(pixels).permute(0, 3, 1, 2), places, labels[places])


def examples(n: int = 30, augment: tuple[str, ...] = ()) -> Examples:
    return Examples(images(n), Normalise(MEAN, STD), augment)


def network(name: str) -> nn.Module:
    with seeded(name):
        return NETWORKS[name]()


def settings(**changes: Any) -> TrainSettings:
    return TrainSettings.model_validate({"epochs": 3, "batch": 8, **changes})


def training(name: str = "linear", own: TrainSettings | None = None, **more: Any) -> Training:
    return Training(network(name), more.pop("of", examples()), own or settings(), seed=SEED, **more)


def by_hand(name: str, own: TrainSettings, steps: int) -> tuple[nn.Module, list[float]]:
    """The network after so many steps of a plain loop with torch's plain optimiser, and the losses on the way."""
    module, some = network(name).train(), images()
    if own.optimiser == "adam":
        optimiser: torch.optim.Optimizer = torch.optim.Adam(
            module.parameters(), own.learning_rate, weight_decay=own.weight_decay, foreach=False
        )
    else:
        optimiser = torch.optim.SGD(
            module.parameters(), own.learning_rate, own.momentum, weight_decay=own.weight_decay,
            nesterov=own.momentum > 0, foreach=False,
        )  # fmt: skip
    pixels = some.pixels[some.places].float() / 255
    inputs = (pixels - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)
    per_epoch, losses = -(-len(some) // own.batch), []
    for step in range(steps):
        epoch, place = divmod(step, per_epoch)
        which = shuffled(len(some), SEED, epoch)[place * own.batch : (place + 1) * own.batch]
        for group in optimiser.param_groups:
            group["lr"] = rate(own, step / (per_epoch * own.epochs))
            high = momentum(own, step / (per_epoch * own.epochs))
            group.update({"betas": (high, 0.999)} if "betas" in group else {"momentum": high})
        loss = F.cross_entropy(module(inputs[which]), some.labels[which])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    return module, losses


def assert_close(found: nn.Module, expected: nn.Module) -> None:
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-4, atol=3e-5, msg=lambda m, n=name: n + m)


def assert_same(found: nn.Module, expected: nn.Module) -> None:
    state = found.state_dict()
    assert [name for name, value in expected.state_dict().items() if not torch.equal(value, state[name])] == []


# ---- against the plain loop


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("name", ["linear", "batchnorm"])
def test_one_step_and_one_epoch_are_those_of_a_plain_loop(name: str, optimiser: str) -> None:
    own = settings(**OPTIMISERS[optimiser])
    found = training(name, own)
    batch = next(found.examples.batches(own.batch, SEED, 0))
    found.module.train()
    found._step(0, *batch)
    assert_close(found.module, by_hand(name, own, 1)[0])

    found = training(name, own)
    found.epoch()
    assert_close(found.module, by_hand(name, own, 4)[0])


def test_the_rate_goes_on_over_the_epochs() -> None:
    own = settings(**OPTIMISERS["nesterov with decay, cosine"])
    found = training("linear", own)
    while not found.finished:
        found.epoch()
    assert found.epochs == 3
    assert_close(found.module, by_hand("linear", own, 12)[0])


def test_the_curve_is_what_was_seen_on_the_way() -> None:
    own = settings(learning_rate=1e-9)  # so that the network stays what it is
    found = training("linear", own)
    row = found.epoch()
    module, some = network("linear"), images()
    inputs = Normalise(MEAN, STD)(some.pixels[some.places])
    outputs = module(inputs)
    assert row["loss"] == pytest.approx(F.cross_entropy(outputs, some.labels).item(), abs=1e-5)
    assert row["accuracy"] == pytest.approx((outputs.argmax(-1) == some.labels).double().mean().item())
    assert row["seconds"] > 0 and found.curve == [row]


def test_it_learns_and_ends_in_evaluation() -> None:
    found = training("batchnorm", settings(epochs=6, learning_rate=1e-2))
    while not found.finished:
        found.epoch()
    assert found.curve[-1]["loss"] < 0.5 * found.curve[0]["loss"]
    assert not found.module.training


def test_every_step_is_told() -> None:
    told: list[int] = []
    found = training("linear", settings(epochs=2))
    found.epoch(told.append)
    found.epoch(told.append)
    assert told == list(range(1, 9)) and found.steps_per_epoch == 4


class Watched(NoMasking):
    """A masking that writes down when it is asked."""

    def __init__(self) -> None:
        self.calls: list[Any] = []

    def before(self, progress: float, step: int) -> None:
        self.calls.append((round(progress, 3), step))

    def after(self) -> None:
        self.calls.append("after")


def test_a_masking_is_asked_around_every_pass() -> None:
    watched = Watched()
    training("linear", settings(epochs=2, batch=15), masking=watched).epoch()
    assert watched.calls == [(0.0, 0), "after", (0.25, 1), "after"]


# ---- what draws


def test_dropout_is_drawn_by_seed_and_epoch_alone() -> None:
    own = settings(epochs=2)
    one, two = training("dropout", own), training("dropout", own)
    one.epoch()
    torch.manual_seed(99)
    before = torch.get_rng_state()
    two.epoch()
    assert torch.equal(torch.get_rng_state(), before)  # nobody else's draws are touched
    assert_same(two.module, one.module)
    other = Training(network("dropout"), examples(), own, seed=SEED + 1)
    other.epoch()
    assert other.curve[0]["loss"] != one.curve[0]["loss"]


@pytest.mark.parametrize(("name", "expected"), [("linear", False), ("batchnorm", False), ("dropout", True)])
def test_whether_a_network_draws_is_found_without_touching_it(name: str, expected: bool) -> None:
    module, inputs = network(name), torch.randn(4, 3, SIDE, SIDE)
    before, generator = copy.deepcopy(module), torch.get_rng_state()
    assert draws(module, inputs) is expected
    assert_same(module, before)
    assert torch.equal(torch.get_rng_state(), generator)


def test_bfloat16_learns_in_float32_weights() -> None:
    own = settings(epochs=1)
    half, whole = training("batchnorm", own, precision="bfloat16"), training("batchnorm", own)
    assert half.epoch()["loss"] == pytest.approx(whole.epoch()["loss"], rel=0.05)
    assert {p.dtype for p in half.module.parameters()} == {torch.float32}
    assert not torch.equal(half.module.state_dict()["fc.weight"], whole.module.state_dict()["fc.weight"])


# ---- batches


@pytest.mark.parametrize(("n", "size"), [(24, 8), (25, 8), (26, 8), (7, 8), (1, 8), (2, 1), (5, 1), (9, 4)])
def test_a_last_batch_of_one_is_left_out_and_steps_are_counted(n: int, size: int) -> None:
    lengths = [len(labels) for _, labels in examples(n).batches(size, SEED, 0)]
    assert len(lengths) == examples(n).steps(size)
    assert sum(lengths) == (n - 1 if n > size > 1 and n % size == 1 else n)
    assert 1 not in lengths[1:] or size == 1


def test_a_last_batch_of_one_would_have_no_statistics() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, SIDE), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, CLASSES))
    found = Training(module, examples(17), settings(), seed=SEED)
    found.epoch()
    assert found.steps_per_epoch == 2


def test_batches_are_decided_by_seed_and_epoch() -> None:
    def seen(seed: int, epoch: int, *augment: str) -> Tensor:
        return torch.cat([inputs for inputs, _ in examples(augment=augment).batches(8, seed, epoch)])

    assert torch.equal(seen(1, 0), seen(1, 0)) and torch.equal(seen(1, 0, "crop", "flip"), seen(1, 0, "crop", "flip"))
    for other in (seen(2, 0), seen(1, 1), seen(1, 0, "crop"), seen(1, 0, "flip")):
        assert not torch.equal(seen(1, 0), other)
    flipped = seen(1, 0, "flip")
    for plain, found in zip(seen(1, 0), flipped, strict=True):
        assert torch.equal(found, plain) or torch.equal(found, plain.flip(-1))


# ---- stopped and gone on


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_gone_on_from_a_checkpoint_it_is_the_unbroken_one_bit_for_bit(
    name: str, optimiser: str, tmp_path: Path
) -> None:
    own, of = settings(**OPTIMISERS[optimiser]), examples(augment=("crop", "flip"))
    unbroken, stopped = training(name, own, of=of), training(name, own, of=of)
    for _ in range(3):
        unbroken.epoch()
    stopped.epoch()
    store = CheckpointStore(tmp_path)
    store.save(1, *stopped.checkpoint())
    stopped.epoch()  # what comes after the checkpoint is lost
    saved, _ = store.latest()
    assert saved is not None
    resumed = training(name, own, of=of)
    resumed.restore(saved.state, saved.tensors)
    assert resumed.epochs == 1 and not resumed.finished
    resumed.epoch()
    resumed.epoch()
    assert_same(resumed.module, unbroken.module)
    assert [row["loss"] for row in resumed.curve] == [row["loss"] for row in unbroken.curve]
    found, expected = resumed.checkpoint()[1], unbroken.checkpoint()[1]
    assert found.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(value, found[name])] == []
