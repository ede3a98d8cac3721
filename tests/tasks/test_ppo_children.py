"""Children of a policy are trained by PPO as if each were alone, and what their masks leave out stays zero."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from fresh import ENVIRONMENT
from safetensors.torch import load_file
from torch import Tensor

from evoens import noise
from evoens.children import TunedWeights, initial_weights
from evoens.errors import ProblemError
from evoens.genome import Genome
from evoens.parent import Architecture, Parent
from evoens.plugins.spec import load_class, locate
from evoens.settings.procgen import Levels, PolicyTuneSettings, ProcgenSettings, SplitLevels
from evoens.strategy import Strategy
from evoens.tasks.critic import least_squares_values
from evoens.tasks.policy_further import Averaged, train_further
from evoens.tasks.policy_training import PolicyTraining, Sampled, Shuffled
from evoens.tasks.ppo_children import PPOChild, PPORecipe, part_of, ppo_settings, train_one
from evoens.tasks.sb3 import Training, by_policy_names
from evoens.tasks.tuning import PLAN, Tuner

SEED = 5
SETTINGS = PolicyTuneSettings(
    envs=2, rollout=16, minibatches=2, epochs=2, frames=100, critic_warmup=1, target_kl=None, learning_rate=1e-3
)
PROBLEM = ProcgenSettings(game="bigfish", levels=SplitLevels(train=Levels(start=7, count=90)))
ONE, TWO = ('{"children": %d, "threads": 1, "precision": "float32", "draws": false}' % n for n in (1, 2))  # noqa: UP031

pytestmark = pytest.mark.usefixtures("one_thread")


def make_parent() -> Parent:
    architecture = Architecture(
        "evoens.tasks.networks.impala:ImpalaPolicy", {"widths": [4, 4, 4], "in_channels": 6, "actions": 15}
    )
    weights = architecture.build().state_dict()
    return Parent.from_weights(architecture, {n: 0.2 * noise.normals(1, n, w.shape) for n, w in weights.items()})


PARENT = make_parent()


def strategy(name: str, **arguments: Any) -> Strategy:
    cls: type[Strategy] = load_class(locate(name), Strategy)
    return cls(**arguments).within(parent=PARENT)


def recipe_of(of: Strategy | None = None, **changes: Any) -> PPORecipe:
    return PPORecipe(PARENT, of or strategy("sparse"), PROBLEM, SETTINGS.model_copy(update=changes), SEED)


def tuner(folder: Path, recipe: PPORecipe | None = None, plan: str = ONE) -> Tuner:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / PLAN).write_text(plan)
    return Tuner(recipe or recipe_of(), TunedWeights(folder))


def children(n: int, of: Strategy | None = None) -> list[Genome]:
    return (of or strategy("sparse")).ask(n, Random(3))


def bits(of: Tuner, genomes: list[Genome]) -> list[dict[str, Tensor]]:
    return [load_file(of.tuned.file(genome)) for genome in genomes]


def same(a: list[dict[str, Tensor]], b: list[dict[str, Tensor]]) -> bool:
    return [w.keys() for w in a] == [w.keys() for w in b] and all(
        torch.equal(x[name], y[name]) for x, y in zip(a, b, strict=True) for name in x
    )


def nobody(done: int, total: int) -> None:
    pass


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Tuner:
    """A mask's child and its anti-mask's, trained one after the other."""
    told = list[tuple[int, int]]()
    ours = tuner(tmp_path_factory.mktemp("whole"))
    assert ours.tune(children(2), lambda done, total: told.append((done, total))) == {}
    assert told[-1] == (256, 256)  # 100 frames are four rollouts of 32
    assert not any(path.is_dir() for path in ours.folder.iterdir())
    return ours


def by_hand(genome: Genome) -> dict[str, Tensor]:
    """Stable-Baselines3's PPO, clipping as it does by itself, with gradients that are masked as they come."""
    seed = SEED ^ int(genome.key[:15], 16)
    kwargs = {"generator": np.random.default_rng(seed)}
    own = {"seed": None, "rollout_buffer_class": Shuffled, "rollout_buffer_kwargs": kwargs}
    hand = Training(ppo_settings(PARENT, SETTINGS, 128), PROBLEM, seed, "float32", own=own)
    policy = hand.model.policy
    policy.action_dist = Sampled(torch.Generator().manual_seed(seed))
    weights = by_policy_names(dict(policy.named_parameters()))
    with torch.no_grad():
        for name, start in PARENT.weights.items():
            weights[name].copy_(start)
            mask = genome.genes[0].mask
            if name in PARENT.perturbed and name != "head.weight":
                assert mask is not None
                part = noise.keep(mask, name, start.shape)
                weights[name].mul_(part)
                weights[name].register_hook(partial(torch.mul, part))
        policy.value_net.weight.zero_()
    learn, hand.model.train = hand.model.train, lambda: None  # type: ignore[method-assign]
    hand.rollout_and_update()
    buffer, last = hand.model.rollout_buffer, hand.model._last_obs
    with torch.no_grad():
        frames = [*buffer.observations, last]
        features = torch.stack([policy.extract_features(torch.as_tensor(f)) for f in frames])  # type: ignore[arg-type]
    starts = torch.as_tensor(np.stack([*buffer.episode_starts, hand.model._last_episode_starts]))  # type: ignore[list-item]
    weight, bias = least_squares_values(features, torch.as_tensor(buffer.rewards), starts, 0.999, 0.95)
    with torch.no_grad():
        policy.value_net.weight.copy_(weight[None])
        policy.value_net.bias.copy_(bias[None])
    hand.model.train = learn  # type: ignore[method-assign]
    for _ in range(3):
        hand.rollout_and_update()
    return {name: weight.detach() for name, weight in weights.items()}


def test_a_child_learns_as_ppo_would_by_hand(whole: Tuner) -> None:
    genome = children(2)[1]
    (found,), expected = bits(whole, [genome]), by_hand(genome)
    assert found.keys() == expected.keys() == PARENT.weights.keys()
    assert [name for name in found if not torch.equal(found[name], expected[name])] == []
    assert not torch.equal(found["head.bias"], PARENT.weights["head.bias"])


@pytest.mark.parametrize(
    "of",
    [
        strategy("sparse"),
        strategy("sparse", parts=1, by="magnitude", rounds=2, over=0.6),
        strategy("stochastic", over=0.6),
    ],
    ids=["sparse", "rounds", "stochastic"],
)
def test_what_is_pruned_is_zero_after_every_step(of: Strategy) -> None:
    genome = children(1, of)[0]
    training = recipe_of(of).begin(genome, 0, 1, tuner_plan())
    weights, moved = training.policy_weights(), list[bool]()

    def look(*_: Any) -> None:
        masking = training.masking
        held = masking._until > 0  # type: ignore[attr-defined]
        for name, mask in masking._masks.items() if held else ():  # type: ignore[attr-defined]
            assert not weights[name][mask == 0].any()
        moved.append(held)

    training.model.policy.optimizer.register_step_post_hook(look)
    while not training.finished:
        training.turn(lambda: None)
    found = training.finish()
    assert len(moved) == 3 * 2 * 2 and moved[-1]
    start = {**PARENT.weights, **initial_weights(PARENT, of, genome)}
    for name in set(PARENT.perturbed) - {"head.weight"}:
        kept = float((found[name] != 0).float().mean())
        assert kept == pytest.approx(0.5, abs=0.15), name  # drawn, not counted, where stochastic
        assert not torch.equal(found[name], start[name])


def tuner_plan() -> Any:
    return recipe_of().plan()


def test_a_mask_that_is_drawn_anew_holds_for_a_rollout_and_its_update() -> None:
    """So the policy that learns is the one that has played: at its first step the ratio of probabilities is one."""
    of = strategy("stochastic", over=1.0)
    training = recipe_of(of, minibatches=1, epochs=1).begin(children(1, of)[0], 0, 1, tuner_plan())
    whole = [weight.detach().clone() for weight in training.policy_weights().values()]
    training.turn(lambda: None)
    assert all(map(torch.equal, whole, training.policy_weights().values()))  # it was lent out, and did not move
    training.turn(lambda: None)
    assert training.curve[-1]["approx_kl"] == pytest.approx(0, abs=1e-6)
    assert not torch.equal(whole[0], next(iter(training.policy_weights().values())))


def test_two_at_once_learn_as_one_after_another(whole: Tuner, tmp_path: Path) -> None:
    genomes, two = children(2), tuner(tmp_path, plan=TWO)
    two.tune(genomes[::-1], nobody)
    assert same(bits(whole, genomes), bits(two, genomes))
    assert not torch.equal(*(found["head.bias"] for found in bits(whole, genomes)))


DRIVER = """
import sys
from pathlib import Path
import torch; torch.set_num_threads(1)
from tests.tasks.test_ppo_children import children, recipe_of, strategy, tuner
of = strategy("stochastic", over=0.6)
tuner(Path(sys.argv[1]), recipe_of(of, frames=320)).tune(children(2, of), lambda *_: None)
"""


def test_killed_in_a_childs_training_it_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    of = strategy("stochastic", over=0.6)
    recipe, genomes = recipe_of(of, frames=320), children(2, of)
    whole, broken = tuner(tmp_path / "whole", recipe), tuner(tmp_path / "broken", recipe)
    whole.tune(genomes, nobody)
    with subprocess.Popen([sys.executable, "-c", DRIVER, str(broken.folder)], env=ENVIRONMENT) as process:
        while not list(broken.folder.glob(f"{genomes[1].key}/0*")):
            assert process.poll() is None
            time.sleep(0.01)
        process.kill()
    assert broken.tuned.file(genomes[0]).is_file() and not broken.tuned.file(genomes[1]).exists()
    told = list[int]()
    tuner(broken.folder, recipe).tune(genomes, lambda done, total: told.append(done))
    assert same(bits(whole, genomes), bits(broken, genomes)) and told[0] >= 32


def test_a_child_that_diverges_has_failed_and_no_other(
    whole: Tuner, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    genomes, ours, plain = children(2), tuner(tmp_path), PPORecipe.begin

    def diverging(self: PPORecipe, genome: Genome, *rest: Any) -> PPOChild:
        child = plain(self, genome, *rest)
        if genome == genomes[0]:
            child.settings = child.settings.model_copy(update={"learning_rate": 1e30})
        return child

    monkeypatch.setattr(PPORecipe, "begin", diverging)
    errors = ours.tune(genomes, nobody)
    assert errors.keys() == {genomes[0].key}
    assert errors[genomes[0].key].startswith("ProblemError: the training has diverged: ")
    assert same(bits(ours, genomes[1:]), bits(whole, genomes[1:])) and not ours.tuned.file(genomes[0]).exists()


def test_each_child_has_levels_of_its_own() -> None:
    recipe = recipe_of(levels="share")
    played = recipe.begin(children(4)[2], 2, 4, tuner_plan()).games.settings
    assert (played["start"], played["count"]) == (51, 22)
    assert [str(part_of(Levels(start=7, count=90), i, 4)) for i in range(4)] == [
        "7 to 28", "29 to 50", "51 to 72", "73 to 94",
    ]  # fmt: skip


def test_the_parent_trained_on_goes_on_after_a_stop_and_stays_itself(tmp_path: Path) -> None:
    before = PARENT.fingerprint
    own = ppo_settings(PARENT, SETTINGS, 256)
    train: Callable[..., tuple[Parent, Parent]] = partial(train_further, PARENT, own, PROBLEM, SEED, warmup=1)
    whole, steps = train(tmp_path / "whole"), list[int]()

    def stop(progress: Any) -> None:
        steps.append(progress.steps)
        if progress.steps == 224:  # when the mean of the last weights has begun
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "cut", on_progress=stop)
    cut = train(tmp_path / "cut", on_progress=lambda p: steps.append(p.steps))
    assert steps == list(range(32, 257, 32)) and PARENT.fingerprint == before
    assert [one.fingerprint for one in cut] == [one.fingerprint for one in whole]
    assert len({before, *(one.fingerprint for one in whole)}) == 3


def test_the_mean_of_the_last_weights_is_that_of_the_last_quarter() -> None:
    training = Averaged(ppo_settings(PARENT, SETTINGS, 256), PROBLEM, SEED, "float32", weights=PARENT.weights, warmup=1)
    seen = list[dict[str, Tensor]]()
    for _ in range(8):
        training.rollout_and_update()
        seen.append({name: weight.detach().double() for name, weight in training.policy_weights().items()})
    training.games.close()
    assert training.averaged == 2
    expected = {name: (seen[-2][name] + seen[-1][name]) / 2 for name in seen[0]}
    torch.testing.assert_close(dict(training.mean), expected, check_dtype=False)


def test_one_child_for_all_frames_goes_on_after_a_stop_and_keeps_its_mask(tmp_path: Path) -> None:
    (genome,), recipe = children(1), recipe_of(frames=128, levels="all")

    def stop(progress: Any) -> None:
        if progress.steps == 64:
            raise KeyboardInterrupt

    whole = train_one(recipe, genome, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train_one(recipe, genome, tmp_path / "cut", on_progress=stop)
    cut = train_one(recipe, genome, tmp_path / "cut")
    born = initial_weights(PARENT, recipe.strategy, genome)
    for name, weight in whole.items():
        assert torch.equal(weight, cut[name])
        if name in born:
            assert torch.equal(weight == 0, born[name] == 0)


def test_the_policy_stays_while_its_value_head_is_found() -> None:
    own = ppo_settings(PARENT, SETTINGS, 96)
    training = PolicyTraining(own, PROBLEM, SEED, "float32", weights=PARENT.weights, warmup=2)
    for moved in (False, False, True):
        training.rollout_and_update()
        weights = training.policy_weights()
        assert all(torch.equal(weights[n], PARENT.weights[n]) for n in weights) is not moved
    training.games.close()


def test_another_network_is_refused() -> None:
    parent = Parent(torch.nn.Linear(3, 2), Architecture("torch.nn:Linear"))
    with pytest.raises(ProblemError, match=r"tune: expected an ImpalaPolicy, .* found a parent that is a Linear"):
        PPORecipe(parent, strategy("sparse"), PROBLEM, SETTINGS, SEED)


@pytest.mark.parametrize("lam", [0.0, 0.9, 1.0])
def test_values_of_a_chain_are_those_that_are_known(lam: float) -> None:
    """Three states in a row, one feature each, three games at other places of it: V is the rewards to come."""
    reward, gamma = torch.tensor([1.0, 0.0, 4.0]), 0.9
    places = (torch.arange(31)[:, None] + torch.arange(3)) % 3
    features = torch.eye(3)[places]
    weight, bias = least_squares_values(features, reward[places[:-1]], (places == 0).float(), gamma, lam, ridge=1e-9)
    expected = torch.tensor([1 + 0.81 * 4, 0.9 * 4, 4.0])
    torch.testing.assert_close((weight + bias).float(), expected)
