"""Children are trained each by itself: who else is trained, in what order and how many at once changes no bit."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from fresh import ENVIRONMENT
from safetensors.torch import load_file
from torch import Tensor

from evoens import noise
from evoens.children import TunedWeights, child_weights, initial_weights
from evoens.genome import Gene, Genome
from evoens.parent import Architecture, Parent
from evoens.settings.classification import TuneSettings
from evoens.storage.checkpoint import CheckpointStore
from evoens.storage.measuring import Measuring, _read
from evoens.strategy import Strategy
from evoens.tasks import sgd_children, tuning
from evoens.tasks.data.images import Images
from evoens.tasks.data.preprocessing import Normalise
from evoens.tasks.masking import NoMasking
from evoens.tasks.networks.mlp import MLP
from evoens.tasks.precision import precision_of
from evoens.tasks.sgd import Examples, Training
from evoens.tasks.sgd_children import SGDRecipe
from evoens.tasks.tuning import TRAINING, Tuner, TuningPlan

SETTINGS = TuneSettings(epochs=3, batch=16, learning_rate=0.01)
ALONE = TuningPlan(1, 1, "float32", False)


class Half(Strategy):
    """Keeps the half of the weights that the gene's mask holds."""

    def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
        assert gene.mask is not None
        return weight * noise.keep(gene.mask, name, weight.shape)

    def train_mask(self, name: str, weight: Tensor, gene: Gene, progress: float, step: int) -> Tensor:
        assert gene.mask is not None
        return noise.keep(gene.mask, name, weight.shape)


@pytest.fixture
def examples() -> Examples:
    return some_examples()


def some_examples() -> Examples:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (70, 4, 4, 1), dtype=np.uint8)).permute(0, 3, 1, 2)
    labels = (pixels[:, 0, :2].double().mean((1, 2)) > pixels[:, 0, 2:].double().mean((1, 2))).long()
    return Examples(Images(pixels, torch.arange(70), labels), Normalise((0.5,), (0.3,)))


def of_folder(folder: Path, plan: TuningPlan | None, strategy: Strategy, examples: Examples | None = None) -> Tuner:
    torch.manual_seed(0)
    arguments = {"classes": 2, "features": 16, "hidden": [12]}
    parent = Parent(MLP(2, 16, [12]), Architecture("evoens.tasks.networks.mlp:MLP", arguments))
    if plan is not None:
        folder.mkdir(exist_ok=True)
        row = {name: getattr(plan, name) for name in TuningPlan.__slots__}
        (folder / "plan.json").write_text(json.dumps(row))
    return Tuner(SGDRecipe(parent, strategy, examples or some_examples(), SETTINGS, seed=5), TunedWeights(folder))


@pytest.fixture
def tuner(examples: Examples, tmp_path: Path) -> Callable[..., Tuner]:
    def make(folder: str, plan: TuningPlan | None = ALONE, strategy: Strategy | None = None) -> Tuner:
        return of_folder(tmp_path / folder, plan, strategy or Half(1.0), examples)

    return make


def children(n: int) -> list[Genome]:
    return Half(1.0).ask(n, Random(3))


def bits(tuner: Tuner, genomes: list[Genome]) -> dict[str, dict[str, Tensor]]:
    return {g.key: load_file(tuner.tuned.file(g)) for g in genomes}


def same(a: dict[str, dict[str, Tensor]], b: dict[str, dict[str, Tensor]]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key][name], b[key][name]) for key in a for name in a[key])


def test_a_child_learns_as_if_it_were_alone_and_keeps_its_zeros(tuner: Callable[..., Tuner]) -> None:
    ours, genomes, told = tuner("a"), children(4), []
    recipe = ours.recipe
    assert isinstance(recipe, SGDRecipe)
    assert ours.tune(genomes, lambda done, total: told.append((done, total))) == {}
    assert told[-1] == (12, 12) and sorted(told) == told
    for genome in genomes:
        weights = child_weights(recipe.parent, recipe.strategy, genome, ours.tuned)
        start = initial_weights(recipe.parent, recipe.strategy, genome)
        module = recipe.parent.child(start).module.requires_grad_(True)
        plain = Training(module, recipe.examples, SETTINGS, seed=5 ^ int(genome.key[:15], 16))
        mask = {n: noise.keep(genome.genes[0].mask, n, w.shape) for n, w in start.items()}  # type: ignore[arg-type]
        for _ in range(3):
            plain.masking = Zeros(dict(module.named_parameters()), mask)
            plain.epoch()
        for name, value in module.state_dict().items():
            assert torch.equal(value, weights[name])
        assert all(not weights[name][~mask[name]].any() for name in mask)
        assert not torch.equal(weights["layers.0.weight"], start["layers.0.weight"])


class Zeros(NoMasking):
    """The plainest masking: no gradient outside the mask."""

    def __init__(self, parameters: dict[str, torch.nn.Parameter], masks: dict[str, Tensor]) -> None:
        self.parameters, self.masks = parameters, masks

    def after(self) -> None:
        for name, mask in self.masks.items():
            gradient = self.parameters[name].grad
            assert gradient is not None
            gradient[~mask] = 0


def test_neither_order_nor_number_at_once_changes_a_bit(tuner: Callable[..., Tuner]) -> None:
    genomes = children(5)
    one, three = tuner("one"), tuner("three", TuningPlan(3, 1, "float32", False))
    one.tune(genomes, lambda *_: None)
    three.tune(genomes[::-1], lambda *_: None)
    three.tune(genomes[:2], lambda *_: pytest.fail("trained twice"))
    assert same(bits(one, genomes), bits(three, genomes))


def test_what_was_interrupted_goes_on_at_its_epoch(
    tuner: Callable[..., Tuner], monkeypatch: pytest.MonkeyPatch
) -> None:
    genomes, whole, cut = children(3), tuner("whole"), tuner("cut")
    whole.tune(genomes, lambda *_: None)
    plain, seen = Training.epoch, []

    def dies(self: Training, *arguments: object) -> object:
        if len(seen) == 5:  # in the third epoch of the second child
            raise OSError("the power went")
        seen.append(self.epochs)
        return plain(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Training, "epoch", dies)
        with pytest.raises(OSError, match="the power went"):
            cut.tune(genomes, lambda *_: None)
    assert cut.tuned.file(genomes[0]).is_file() and not cut.tuned.file(genomes[1]).exists()
    saved, _ = CheckpointStore(cut.folder / genomes[1].key).latest()
    assert saved is not None and saved.step == 2
    seen.clear()
    monkeypatch.setattr(Training, "epoch", lambda self, *a: (seen.append(self.epochs), plain(self, *a))[1])
    tuner("cut", None).tune(genomes, lambda *_: None)
    assert seen == [2, 0, 1, 2]
    assert same(bits(whole, genomes), bits(cut, genomes))
    assert not any(path.is_dir() for path in cut.folder.iterdir())


def test_a_child_that_cannot_be_trained_has_failed_and_no_other(tuner: Callable[..., Tuner]) -> None:
    genomes = children(3)

    class Picky(Half):
        def train_mask(self, name: str, weight: Tensor, gene: Gene, progress: float, step: int) -> Tensor:
            if gene == genomes[1].genes[0]:
                raise ValueError("not this one")
            return super().train_mask(name, weight, gene, progress, step)

    ours = tuner("picky", strategy=Picky(1.0))
    why = "SpecError: Picky.train_mask('layers.0.weight'): ValueError: not this one"
    assert ours.tune(genomes, lambda *_: None) == {genomes[1].key: why}
    whole = tuner("whole")
    whole.tune(genomes, lambda *_: None)
    rest = [genomes[0], genomes[2]]
    assert same(bits(ours, rest), bits(whole, rest)) and not ours.tuned.file(genomes[1]).exists()


DIES = """
import os, sys
from pathlib import Path
from tests.tasks.test_tuning import Half, children, of_folder

class Dies(Half):
    def train_mask(self, name, weight, gene, progress, step):
        if gene == children(3)[1].genes[0]:
            os._exit(7)
        return super().train_mask(name, weight, gene, progress, step)

of_folder(Path(sys.argv[1]), None, Dies(1.0)).tune(children(3), lambda *_: None)
"""


def test_a_child_in_whose_training_the_process_died_twice_has_failed_and_no_other(
    tuner: Callable[..., Tuner],
) -> None:
    genomes, whole, dies = children(3), tuner("whole"), tuner("dies", TuningPlan(2, 1, "float32", False))
    Measuring(dies.folder / TRAINING).begin(genomes[1].key)  # a process that died there before
    command = [sys.executable, "-c", DIES, str(dies.folder)]
    assert subprocess.run(command, env=ENVIRONMENT, check=False, capture_output=True).returncode == 7
    why = "the process died 2 times while this child was trained"
    assert dies.tune(genomes, lambda *_: None) == {genomes[1].key: why}
    whole.tune(genomes, lambda *_: None)
    rest = [genomes[0], genomes[2]]
    assert same(bits(dies, rest), bits(whole, rest)) and not dies.tuned.file(genomes[1]).exists()


def test_an_epoch_that_the_process_lives_through_clears_a_child(tuner: Callable[..., Tuner]) -> None:
    """A process that is ended twice in one training, by whoever owns the machine, is no fault of the child's."""
    deaths: dict[int, int] = {}  # by epoch: how often the process would have died in the child, were it to die now

    class Watched(Half):
        def mask_valid_until(self, progress: float) -> float:
            return progress  # asked at each step

        def train_mask(self, name: str, weight: Tensor, gene: Gene, progress: float, step: int) -> Tensor:
            deaths[int(3 * progress)] = _read(ours.folder / TRAINING)[1][child.key]
            return super().train_mask(name, weight, gene, progress, step)

    ours, (child,) = tuner("watched", strategy=Watched(1.0)), children(1)
    Measuring(ours.folder / TRAINING).begin(child.key)
    assert ours.tune([child], lambda *_: None) == {} and not (ours.folder / TRAINING).exists()
    assert {epoch: deaths[epoch] for epoch in range(3)} == {0: 2, 1: 1, 2: 1}


def test_ctrl_c_ends_all_threads(tuner: Callable[..., Tuner], monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tuner("stopped", TuningPlan(2, 1, "float32", False))
    monkeypatch.setattr(tuning, "wait", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        ours.tune(children(50), lambda *_: None)
    assert torch.get_num_threads() == threads
    assert sum(ours.tuned.file(g).is_file() for g in children(50)) < 25


def test_the_plan_is_made_once_and_kept(tuner: Callable[..., Tuner], monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tuner("planned", None)
    ours.tune(children(1), lambda *_: None)
    plan = json.loads((ours.folder / "plan.json").read_text())
    cores, precision = torch.get_num_threads(), precision_of("auto")
    assert plan == {"children": cores, "threads": 1, "precision": precision, "draws": False}
    monkeypatch.setattr(SGDRecipe, "plan", lambda self: pytest.fail("made twice"))
    tuner("planned", None).tune(children(2), lambda *_: None)


def test_a_network_that_draws_is_trained_one_at_a_time(
    tuner: Callable[..., Tuner], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = tuner("drawing", None)
    monkeypatch.setattr(sgd_children, "draws", lambda *_: True)
    assert ours.recipe.plan().children == 1


def test_without_epochs_only_the_statistics_are_taken_anew(tmp_path: Path, examples: Examples) -> None:
    torch.manual_seed(1)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3), torch.nn.BatchNorm2d(3), torch.nn.Flatten(), torch.nn.Linear(12, 2)
    )
    parent = Parent(module, Architecture("torch.nn:Sequential"))
    tuned = TunedWeights(tmp_path)
    settings = TuneSettings(epochs=0, batch=35, batch_norm="re-estimated")
    genome = children(1)[0]
    Tuner(SGDRecipe(parent, Half(1.0), examples, settings, seed=5), tuned).tune([genome], lambda *_: None)
    found, expected = child_weights(parent, Half(1.0), genome, tuned), initial_weights(parent, Half(1.0), genome)
    assert all(torch.equal(found[name], weight) for name, weight in expected.items())
    convolution = torch.nn.Conv2d(1, 3, 3)
    convolution.load_state_dict({"weight": expected["0.weight"], "bias": parent.weights["0.bias"]})
    with torch.no_grad():
        batches = [convolution(inputs) for inputs, _ in examples.batches(35, 5 ^ int(genome.key[:15], 16), 0)]
    for statistic, of in (("running_mean", torch.mean), ("running_var", torch.var)):
        mean = torch.stack([of(x, dim=(0, 2, 3)) for x in batches]).mean(0)
        torch.testing.assert_close(found[f"1.{statistic}"], mean, rtol=1e-5, atol=1e-6)
    assert torch.equal(found["3.bias"], parent.weights["3.bias"])


class Tied(torch.nn.Module):
    """Two layers with one weight, of which one has a bias that stays as it is."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.out = torch.nn.Linear(16, 16), torch.nn.Linear(16, 16), torch.nn.Linear(16, 2)
        self.b.weight = self.a.weight
        self.a.bias.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.out(self.b(self.a(x.flatten(1)).relu()).relu())
        return logits


def test_what_the_network_froze_stays_and_a_tensor_of_two_names_is_trained_as_one(
    tmp_path: Path, examples: Examples
) -> None:
    """Adam's step is by the sum of both layers' gradients; an interruption changes nothing of it."""
    torch.manual_seed(0)
    parent = Parent(Tied(), Architecture("torch.nn:Sequential"))
    (tmp_path / "plan.json").write_text(
        json.dumps({"children": 1, "threads": 1, "precision": "float32", "draws": False})
    )
    tuner = Tuner(SGDRecipe(parent, Half(1.0), examples, SETTINGS, seed=5), TunedWeights(tmp_path))
    assert tuner.tune([Genome()], lambda *_: None) == {}
    found = load_file(TunedWeights(tmp_path).file(Genome()))
    assert "b.weight" not in found and torch.equal(found["a.bias"], parent.weights["a.bias"])
    assert not torch.equal(found["a.weight"], parent.weights["a.weight"])
    plain = Training(parent.trainable(), examples, SETTINGS, seed=5 ^ int(Genome().key[:15], 16))
    plain.epoch()
    state, saved = plain.checkpoint()
    again = Training(parent.trainable(), examples, SETTINGS, seed=plain.seed)
    again.restore(state, {name: value.clone() for name, value in saved.items()})
    for _ in range(2):
        plain.epoch()
        again.epoch()
    for training in (plain, again):
        assert torch.equal(training.module.state_dict()["b.weight"], found["a.weight"])
