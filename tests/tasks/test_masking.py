"""Masks while a child is trained: zeros at every step, nothing else changed, and the same bits after a stop."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from evoens_strategies.sparse import Sparse
from evoens_strategies.stochastic import Stochastic
from torch import Tensor, nn
from torch.nn.utils import prune

from evoens import noise
from evoens.children import initial_weights
from evoens.genome import Gene, Genome, Mask
from evoens.parent import Architecture, Parent
from evoens.settings.classification import TrainSettings
from evoens.strategy import Strategy
from evoens.tasks.data.images import Images
from evoens.tasks.data.preprocessing import Normalise
from evoens.tasks.masking import GeneMasking
from evoens.tasks.sgd import Examples, Training

EPOCHS, STEPS = 4, 5  # steps an epoch
OPTIMISERS: dict[str, dict[str, Any]] = {
    "adam": {"optimiser": "adam", "learning_rate": 0.01},
    "adam with decay": {"optimiser": "adam", "learning_rate": 0.01, "weight_decay": 0.01},
    "nesterov with decay": {"optimiser": "sgd", "learning_rate": 0.05, "weight_decay": 0.01},
    "one cycle": {"optimiser": "sgd", "learning_rate": 0.05, "schedule": "one-cycle", "weight_decay": 0.01},
}
CHILDREN: dict[str, Callable[[], Strategy]] = {
    "sparse": Sparse,
    "channels": lambda: Sparse(structure="channels"),
    "magnitude": lambda: Sparse(0.2, 1, by="magnitude"),
    "whole network": lambda: Sparse(0.2, 2, by="magnitude", pool="network"),
    "rounds": lambda: Sparse(0.2, 1, rounds=3, over=0.9),
    "rounds by magnitude": lambda: Sparse(0.2, 1, by="magnitude", rounds=3, over=0.9),
    "temperature": lambda: Stochastic(over=0.6),
    "two-sided": lambda: Stochastic(1 / 3, 3, annealing="two-sided", over=0.6),
    "random": lambda: Stochastic(annealing="random", over=0.6, output=True),
    "to the end": lambda: Stochastic(over=1.0),
}


pytestmark = pytest.mark.usefixtures("one_thread")


def parent() -> Parent:
    layers = (nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(24, 4))
    module = nn.Sequential(*layers)
    for name, weight in module.state_dict().items():
        weight.copy_(noise.normals(0, name, weight.shape) / weight[0].numel() ** 0.5)
    return Parent(module, Architecture("torch.nn:Sequential"))


def examples() -> Examples:
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (8 * STEPS, 6, 6, 3), np.uint8)).permute(0, 3, 1, 2)
    labels = torch.from_numpy(rng.integers(0, 4, 8 * STEPS))
    return Examples(Images(pixels, torch.arange(8 * STEPS), labels), Normalise((0.5,) * 3, (0.3,) * 3))


def begin(strategy: Strategy, genome: Genome, optimiser: str = "adam", module: nn.Module | None = None) -> Training:
    """A child's training, as the tuner begins it."""
    ours, settings = parent(), TrainSettings(epochs=EPOCHS, batch=8, **OPTIMISERS[optimiser])
    if module is None:
        module = ours.trainable()
        module.load_state_dict(initial_weights(ours, strategy, genome), strict=False)
    training = Training(module, examples(), settings, seed=7, draws=False)
    weights = {n: w for n, w in module.named_parameters() if n in ours.perturbed}
    training.masking = GeneMasking(strategy, genome, weights, training.optimiser)
    return training


def child(name: str, place: int = 0) -> tuple[Strategy, Genome]:
    strategy = CHILDREN[name]()
    strategy = strategy.within(parent=parent())
    return strategy, strategy.ask(4, Random(2))[place]


def train(training: Training, on_step: Callable[[int], None] = lambda _: None) -> dict[str, Tensor]:
    while not training.finished:
        training.epoch(on_step)
    training.masking.finish()
    return {name: weight.clone() for name, weight in training.module.state_dict().items()}


def states(training: Training, name: str) -> list[Tensor]:
    weight = dict(training.module.named_parameters())[name]
    return [value for value in training.optimiser.state[weight].values() if value.shape == weight.shape]


# ---- masks that stay


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("name", ["sparse", "channels", "magnitude", "whole network"])
def test_pruned_weights_are_zero_after_every_step_and_so_is_their_momentum(name: str, optimiser: str) -> None:
    strategy, genome = child(name)
    training = begin(strategy, genome, optimiser)
    start = {n: w.clone() for n, w in training.module.named_parameters()}
    out = {n: start[n] == 0 for n in ("0.weight", "2.weight")}
    assert all(0.3 < float(zeros.float().mean()) < 0.95 for zeros in out.values())
    seen = []

    def look(step: int) -> None:
        for n, zeros in out.items():
            assert not training.module.get_parameter(n)[zeros].any(), (n, step)
            assert not any(value[zeros].any() for value in states(training, n))
        seen.append(step)

    final = train(training, look)
    assert seen == list(range(1, EPOCHS * STEPS + 1))
    for n, zeros in out.items():
        assert not final[n][zeros].any()
        assert (final[n] != start[n])[~zeros].all()
    assert (final["5.weight"] != start["5.weight"]).all()


@pytest.mark.parametrize("optimiser", OPTIMISERS)
def test_the_others_learn_as_under_torchs_own_pruning(optimiser: str) -> None:
    """`torch.nn.utils.prune` multiplies by the mask in every pass: the same weights stay, and get the same bits."""
    strategy, genome = child("sparse")
    final = train(begin(strategy, genome, optimiser))
    theirs = parent().module.requires_grad_(True)
    (gene,) = genome.genes
    assert gene.mask is not None
    for place in (0, 2):
        layer = theirs[place]  # type: ignore[index]
        prune.custom_from_mask(layer, "weight", noise.keep(gene.mask, f"{place}.weight", layer.weight.shape))
    settings = TrainSettings(epochs=EPOCHS, batch=8, **OPTIMISERS[optimiser])
    plain = Training(theirs, examples(), settings, seed=7, draws=False)
    while not plain.finished:
        plain.epoch()
    for place in (0, 2):
        layer = theirs[place]  # type: ignore[index]
        assert torch.equal(final[f"{place}.weight"], layer.weight_orig * layer.weight_mask)
    assert torch.equal(final["5.weight"], theirs[5].weight)  # type: ignore[index]


class Counting:
    """Counts how often a Strategy is asked for each tensor."""

    def __init__(self, strategy: Strategy, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: dict[str, list[float]] = {}
        plain = strategy.train_mask

        def train_mask(name: str, weight: Tensor, gene: Gene, progress: float, step: int) -> Tensor | None:
            self.steps.setdefault(name, []).append(progress)
            return plain(name, weight, gene, progress, step)

        monkeypatch.setattr(strategy, "train_mask", train_mask)


@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("sparse", [0.0]),
        ("magnitude", [0.0]),
        ("rounds", [0.0, 0.3, 0.6]),
        ("temperature", [step / 20 for step in range(13)]),  # every step until it is fixed, then once
        ("to the end", [*(step / 20 for step in range(20)), 1.0]),
    ],
)
def test_a_strategy_is_asked_no_more_often_than_its_masks_change(
    name: str, times: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy, genome = child(name)
    counting = Counting(strategy, monkeypatch)
    train(begin(strategy, genome))
    assert counting.steps == {"0.weight": times, "2.weight": times}


@pytest.mark.parametrize("name", ["rounds", "rounds by magnitude"])
def test_rounds_take_out_more_and_more_and_nothing_comes_back(name: str) -> None:
    strategy, genome = child(name)
    training = begin(strategy, genome, "nesterov with decay")
    counts: list[int] = []
    zeros = torch.zeros(6, 8, 3, 3, dtype=torch.bool)

    def look(step: int) -> None:
        nonlocal zeros
        weight = training.module.get_parameter("2.weight")
        assert not weight[zeros].any()
        zeros = weight == 0
        counts.append(int((~zeros).sum()))

    final = train(training, look)
    assert sorted(set(counts), reverse=True) == [317, 202, 86]  # of 432: shares 1 − .8 · (1, 2, 3)/3
    assert [counts.index(count) for count in (317, 202, 86)] == [0, 6, 12]
    assert int((final["2.weight"] != 0).sum()) == 86 == round(0.2 * 432)


# ---- masks that are drawn anew


def test_weights_held_out_of_a_step_keep_their_values_and_the_others_move() -> None:
    strategy, genome = child("temperature")
    (gene,) = genome.genes
    training = begin(strategy, genome, "adam")
    training.optimiser = torch.optim.SGD(training.module.parameters(), 0.1)  # without momentum
    training.settings = TrainSettings(epochs=EPOCHS, batch=8, optimiser="sgd", momentum=0.0)
    before = {n: w.clone() for n, w in training.module.state_dict().items()}

    def look(step: int) -> None:
        for n in ("0.weight", "2.weight"):
            weight = training.module.get_parameter(n)
            kept = strategy.train_mask(n, weight, gene, (step - 1) / 20, step - 1)
            assert kept is not None and 0.6 < float(kept.float().mean()) < 0.9
            assert torch.equal(weight[~kept], before[n][~kept])
            assert (weight != before[n])[kept].all()
            before[n] = weight.detach().clone()
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        training.epoch(look)


def test_a_pass_sees_the_masked_weights() -> None:
    strategy, genome = child("two-sided")
    (gene,) = genome.genes
    training = begin(strategy, genome)
    whole = training.module.get_parameter("2.weight").detach().clone()
    training.masking.before(0.1, 2)
    kept = strategy.train_mask("2.weight", whole, gene, 0.1, 2)
    assert torch.equal(training.module.get_parameter("2.weight"), whole * kept)
    training.masking.after()
    assert torch.equal(training.module.get_parameter("2.weight"), whole)


@pytest.mark.parametrize("optimiser", OPTIMISERS)
@pytest.mark.parametrize("name", ["temperature", "two-sided", "random", "to the end"])
def test_from_its_end_on_only_the_target_is_left(name: str, optimiser: str) -> None:
    strategy, genome = child(name)
    (gene,) = genome.genes
    assert gene.mask is not None
    training, ends = begin(strategy, genome, optimiser), round(20 * strategy.mask_fixed_from)

    def look(step: int) -> None:
        for n in ("0.weight", "2.weight"):
            weight, kept = training.module.get_parameter(n), noise.keep(gene.mask, n, before[n].shape)  # type: ignore[arg-type]
            assert bool(weight[~kept].any()) == (step <= ends), (n, step)
            if step > ends:
                assert not any(value[~kept].any() for value in states(training, n))

    before = {n: w.clone() for n, w in training.module.state_dict().items()}
    final = train(training, look)
    masked = ("0.weight", "2.weight", *(("5.weight",) if name == "random" else ()))
    for n in masked:
        kept = noise.keep(gene.mask, n, final[n].shape)
        assert not final[n][~kept].any() and final[n][kept].all()
    assert name == "random" or final["5.weight"].all()


# ---- stopping and going on


@pytest.mark.parametrize("optimiser", ["adam", "one cycle"])
@pytest.mark.parametrize("name", CHILDREN)
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(name: str, optimiser: str) -> None:
    strategy, genome = child(name, place=1)
    unbroken = train(begin(strategy, genome, optimiser))
    for stop in (1, 2, 3):
        first = begin(strategy, genome, optimiser)
        for _ in range(stop):
            first.epoch()
        state, tensors = copy.deepcopy(first.checkpoint())
        again = begin(*child(name, place=1), optimiser)
        again.restore(state, {n: value.contiguous() for n, value in tensors.items()})
        for n, value in train(again).items():
            assert torch.equal(value, unbroken[n]), (stop, n)


def test_a_weight_that_happens_to_be_zero_when_it_is_stopped_still_takes_part() -> None:
    """By magnitude the mask is what was not zero at birth: what is not zero now would be another."""
    strategy, genome = child("magnitude")
    finals = []
    for stopped in (False, True):
        training = begin(strategy, genome)
        training.epoch()
        weight = training.module.get_parameter("2.weight")
        place = tuple(torch.nonzero(weight)[0].tolist())
        weight.data[place] = 0.0
        if stopped:
            state, tensors = copy.deepcopy(training.checkpoint())
            training = begin(strategy, genome)
            training.restore(state, tensors)
        training.epoch()
        finals.append(training.module.get_parameter("2.weight").detach().clone())
        assert finals[-1][place] != 0
    assert torch.equal(*finals)


def test_checkpoints_without_masks_are_taken_up() -> None:
    strategy, genome = child("sparse")
    training = begin(strategy, genome)
    training.epoch()
    state, tensors = copy.deepcopy(training.checkpoint())
    assert {name for name in tensors if name.startswith("masking/")} == {
        "masking/until", "masking/0.weight", "masking/2.weight",
    }  # fmt: skip
    plain = begin(strategy, genome)
    plain.restore(state, {name: value for name, value in tensors.items() if not name.startswith("masking/")})
    assert all(
        torch.equal(w, unbroken) for w, unbroken in zip(train(plain).values(), train(training).values(), strict=True)
    )
    annealed = begin(*child("temperature"))
    annealed.epoch()
    assert not any(name.startswith("masking/") for name in annealed.checkpoint()[1])


# ---- genes


class Pair(Strategy):
    """Keeps what each gene's mask holds."""

    def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
        return weight.clone()

    def train_mask(self, name: str, weight: Tensor, gene: Gene, progress: float, step: int) -> Tensor | None:
        return None if gene.mask is None else noise.keep(gene.mask, name, weight.shape)


def test_a_weight_takes_part_by_every_gene_that_touches_it() -> None:
    masks = Mask(1, 0.6), Mask(2, 0.6)
    genome = Genome((Gene(1, 1.0, mask=masks[0]), Gene(2, 1.0, mask=masks[1], scope=("2", "5")), Gene(3, 1.0)))
    final = train(begin(Pair(1.0), genome))
    both = noise.keep(masks[0], "2.weight", (6, 8, 3, 3)) & noise.keep(masks[1], "2.weight", (6, 8, 3, 3))
    assert torch.equal(final["2.weight"] != 0, both)
    assert torch.equal(final["0.weight"] != 0, noise.keep(masks[0], "0.weight", (8, 3, 3, 3)))


def test_without_masks_training_is_as_it_is_without_masking() -> None:
    genome = Genome((Gene(1, 1.0),))
    masked, plain = begin(Pair(1.0), genome), begin(Pair(1.0), genome)
    plain.masking = Training(nn.Linear(1, 1), examples(), plain.settings, seed=0).masking
    assert all(map(torch.equal, train(masked).values(), train(plain).values()))
    assert masked.masking.checkpoint() == {}


def test_what_annealing_remembers_is_let_go_when_it_ends() -> None:
    strategy, genome = child("temperature")
    training = begin(strategy, genome)
    masking = training.masking
    assert isinstance(masking, GeneMasking)
    sizes: list[int] = []
    train(training, lambda _: sizes.append(len(masking._memo)))
    assert sizes == [2] * 12 + [0] * 8
