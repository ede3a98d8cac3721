"""The Procgen problem against one game at a time, and its arithmetic on a game whose rewards are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from procgen import ProcgenGym3Env
from scipy.stats import chisquare
from torch import Tensor

from evoens import noise
from evoens.errors import ProblemError
from evoens.parent import Architecture, Parent
from evoens.problem import Evaluation, Split, drive
from evoens.settings.procgen import Levels, ProcgenSettings, SplitLevels
from evoens.tasks import procgen
from evoens.tasks.procgen import ProcgenProblem

ACTIONS, SEED = 15, 3
LEVELS = SplitLevels(
    train=Levels(start=0, count=9),
    search=Levels(start=1000, count=6),
    select=Levels(start=2000, count=5),
    test=Levels(start=3000, count=4),
)
Policy = Callable[[Tensor], Tensor]


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def parent() -> Parent:
    """A small network whose answers differ from frame to frame."""
    return make_parent()


def make_parent(in_channels: int = 6, actions: int = ACTIONS) -> Parent:
    arguments = {"widths": [4, 4, 4], "in_channels": in_channels, "actions": actions}
    architecture = Architecture("evoens.tasks.networks.impala:ImpalaPolicy", arguments)
    weights = architecture.build().state_dict()
    return Parent.from_weights(architecture, {n: 0.2 * noise.normals(1, n, w.shape) for n, w in weights.items()})


def settings(**changes: Any) -> ProcgenSettings:
    return ProcgenSettings(game="bigfish", levels=LEVELS).model_copy(update=changes)


def one(frame: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A policy without a network: probabilities `(15,)` from one stack of frames `(6, 64, 64)`, no batch in sight."""
    coarse = frame.reshape(6, 8, 8, 8, 8).mean(axis=(2, 4)).ravel() - 100
    weights = np.random.default_rng(0).normal(size=(ACTIONS, coarse.size))
    logits = weights @ coarse / 500
    p = np.exp(logits - logits.max())
    return np.asarray(p / p.sum())


def table(inputs: Tensor) -> Tensor:
    return torch.from_numpy(np.stack([one(frame) for frame in inputs.numpy()]))


def uniform(inputs: Tensor) -> Tensor:
    return torch.full((len(inputs), ACTIONS), 1 / ACTIONS)


def play_alone(
    level: int, policy: Callable[[NDArray[np.uint8]], NDArray[np.float64]], greedy: bool
) -> tuple[float, int]:
    """One level in a game of its own: its return and its length."""
    env = ProcgenGym3Env(1, "bigfish", distribution_mode="easy", start_level=level, num_levels=1, rand_seed=9)
    chance = (noise.words(SEED, f"actions:{level}", 6001) + 0.5) / 65536
    old, new = np.zeros((64, 64, 3), np.uint8), env.observe()[1]["rgb"][0]
    total, steps, ended = 0.0, 0, False
    while not ended:
        p = policy(np.concatenate([old, new], axis=2).transpose(2, 0, 1))
        action = int(p.argmax()) if greedy else int(np.searchsorted(np.cumsum(p), chance[steps]))
        env.act(np.array([action], np.int32))
        reward, observed, first = env.observe()
        old, new = new, observed["rgb"][0]
        total, steps, ended = total + float(reward[0]), steps + 1, bool(first[0])
    return total, steps


@pytest.mark.parametrize("rule", ["sampled", "greedy"])
def test_each_level_is_played_as_if_alone(parent: Parent, rule: str) -> None:
    problem = ProcgenProblem(settings(action=rule), parent, SEED)
    evaluation = problem.evaluate(table, problem.split("search"))
    alone = [play_alone(level, one, rule == "greedy") for level in range(1000, 1006)]
    assert evaluation.cases.tolist() == [total for total, _ in alone]
    assert evaluation.samples == sum(steps for _, steps in alone)
    assert evaluation.cases.dtype == torch.float64 and evaluation.artifacts == {}
    assert len(set(alone)) > 2


def test_a_level_does_not_depend_on_its_company(parent: Parent) -> None:
    """Of a policy that answers each frame by itself; a network's last bits may hang on the size of its batch."""
    problem = ProcgenProblem(settings(), parent, SEED)
    split = problem.split("search")
    whole = problem.evaluate(table, split)
    parts = [problem.evaluate(table, split.part(first, 2)) for first in (0, 2, 4)]
    assert torch.equal(whole.cases, torch.cat([part.cases for part in parts]))
    assert whole.samples == sum(part.samples for part in parts)


def test_the_same_evaluation_has_the_same_bits(parent: Parent) -> None:
    def evaluation() -> Evaluation:
        problem = ProcgenProblem(settings(), parent, SEED)
        return problem.evaluate(parent.predict, problem.split("select"))

    a, b = evaluation(), evaluation()
    assert torch.equal(a.cases, b.cases) and a.samples == b.samples
    assert a.artifacts.keys() == b.artifacts.keys() == {"frames", "action", "probability", "level", "return_to_go"}
    assert all(torch.equal(a.artifacts[name], b.artifacts[name]) for name in a.artifacts)


def test_seeds_and_games_decide(parent: Parent) -> None:
    def samples(seed: int, **changes: Any) -> int:
        problem = ProcgenProblem(settings(**changes), parent, seed)
        return problem.evaluate(uniform, problem.split("test")).samples

    assert len({samples(0), samples(1), samples(0, game="starpilot"), samples(0, difficulty="hard")}) == 4


def test_film_shows_what_was_measured(parent: Parent) -> None:
    problem = ProcgenProblem(settings(), parent, SEED)
    for case in (Split("test", 0, 1), Split("test", 2, 2)):
        frames, result = problem.film(table, case)
        evaluation = problem.evaluate(table, Split("test", case.first, 1))
        assert (len(frames), result) == (evaluation.samples, evaluation.score)
        env = ProcgenGym3Env(1, "bigfish", distribution_mode="easy", start_level=3000 + case.first, num_levels=1)
        assert np.array_equal(frames[0], env.observe()[1]["rgb"][0])
        assert not np.array_equal(frames[0], frames[1])


def test_probe_is_fixed_and_spread_over_what_the_parent_saw(parent: Parent) -> None:
    probe = ProcgenProblem(settings(), parent, SEED).probe(12)
    assert (tuple(probe.shape), probe.dtype) == ((12, 6, 64, 64), torch.uint8)
    assert torch.equal(probe, ProcgenProblem(settings(), parent, SEED).probe(12))
    assert len({frame.numpy().tobytes() for frame in probe}) == 12
    everything = ProcgenProblem(settings(), parent, SEED).probe(10**6)
    assert torch.equal(probe[0], everything[0]) and torch.equal(probe[-1], everything[-1])


def test_splits_are_the_levels_of_the_settings(parent: Parent) -> None:
    problem = ProcgenProblem(settings(), parent, SEED)
    assert problem.describe("select") == {"start": 2000, "count": 5}
    assert problem.levels(problem.split("test").part(1, 9)) == [3001, 3002, 3003]


def test_the_report_has_the_other_action_rule_beside_the_problems_own(parent: Parent) -> None:
    sampled = ProcgenProblem(settings(), parent, SEED)
    greedy = ProcgenProblem(settings().model_copy(update={"action": "greedy"}), parent, SEED)
    split = sampled.split("search").part(0, 2)
    alone = {rule.measures[0].name: rule.evaluate(parent.predict, split) for rule in (sampled, greedy)}
    for problem, own, other in ((sampled, "sampled", "greedy"), (greedy, "greedy", "sampled")):
        assert [measure.name for measure in problem.measures] == [own, other]
        found = drive(problem.reported(split), parent.predict)
        assert torch.equal(found.cases, alone[own].cases) and torch.equal(
            found.extra_metrics[other], alone[other].cases
        )
        assert found.samples == alone[own].samples + alone[other].samples


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"in_channels": 3}, r"the parent does not take \(1, 6, 64, 64\) frames"),
        ({"actions": 9}, r"expected probabilities of 15 actions, found outputs of shape \(1, 9\)"),
    ],
)
def test_refuses_a_parent_of_another_shape(wrong: dict[str, int], says: str) -> None:
    with pytest.raises(ProblemError, match=says):
        ProcgenProblem(settings(), make_parent(**wrong), SEED)


def test_refuses_probabilities_that_are_no_numbers(parent: Parent) -> None:
    problem = ProcgenProblem(settings(), parent, SEED)
    with pytest.raises(ProblemError, match="not finite"):
        problem.evaluate(lambda inputs: torch.full((len(inputs), ACTIONS), torch.nan), problem.split("test"))


# ---- a game without a game: its frames say level and step, its rewards are known


class Known:
    """Level l lasts l % 7 + 40 steps; a step pays by level, step and action. It keeps every action taken."""

    played: list[NDArray[np.int32]]

    def __init__(self, game: str, difficulty: str, levels: Sequence[int]) -> None:
        self.levels, self.time = np.asarray(levels), 0
        self.count, self.slots = len(levels), np.arange(len(levels))
        Known.played = []

    def __len__(self) -> int:
        return len(self.levels)

    def keep(self, slots: NDArray[np.int64]) -> None:
        assert (self.time < length(self.levels[slots])).all()
        self.levels, self.slots = self.levels[slots], self.slots[slots]

    def step(self, actions: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.float32], NDArray[np.bool_]]:
        Known.played.append(np.zeros(self.count, np.int32))
        Known.played[-1][self.slots] = actions
        rewards = np.array(
            [reward(level, self.time, a) for level, a in zip(self.levels, actions, strict=True)], np.float32
        )
        self.time += 1
        return self.frames(), rewards, self.time >= length(self.levels)

    def frames(self) -> NDArray[np.uint8]:
        frames = np.zeros((len(self.levels), 64, 64, 3), np.uint8)
        frames[..., 0], frames[..., 1] = (self.levels % 251)[:, None, None], self.time
        return frames


def length(levels: Any) -> Any:
    return levels % 7 + 40


def reward(level: int, step: int, action: int) -> float:
    return float((level * 7 + step * 3 + action * 5) % 4)


def biased(strength: float) -> Policy:
    """Probabilities that depend on level and step alone, as the frames tell them."""

    def probabilities(inputs: Tensor) -> Tensor:
        level, step = inputs[:, 3, 0, 0].double(), inputs[:, 4, 0, 0].double()
        places = torch.arange(ACTIONS, dtype=torch.float64)
        return torch.softmax(strength * torch.cos(level[:, None] + 0.1 * step[:, None] * places), dim=-1)

    return probabilities


@pytest.fixture
def known(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ProcgenProblem]:
    monkeypatch.setattr(procgen, "LevelEnv", Known)

    def problem(count: int = 20, seed: int = SEED, **changes: Any) -> ProcgenProblem:
        levels = LEVELS.model_copy(update={"select": Levels(start=2000, count=count)})
        return ProcgenProblem(settings(levels=levels, **changes), parent, seed)

    return problem


def test_actions_follow_the_probabilities(known: Callable[..., ProcgenProblem]) -> None:
    p = torch.arange(ACTIONS, dtype=torch.float64)
    p /= p.sum()  # the first action has no chance at all
    problem = known(count=500)
    problem.evaluate(lambda inputs: p.expand(len(inputs), -1), problem.split("select"))
    going = np.arange(46)[:, None] < length(np.arange(2000, 2500))
    counts = np.bincount(np.stack(Known.played)[going], minlength=ACTIONS)
    assert counts[0] == 0 and counts.sum() == going.sum() > 20_000
    assert chisquare(counts[1:], p[1:].numpy() * counts.sum()).pvalue > 1e-3
    assert chisquare(counts[1:], p[1:].flip(0).numpy() * counts.sum()).pvalue < 1e-9


def test_policies_that_agree_act_alike(known: Callable[..., ProcgenProblem]) -> None:
    """Common random numbers: what differs between two evaluations is the policy, not the luck."""

    def actions(strength: float, **changes: Any) -> NDArray[np.int32]:
        problem = known(**changes)
        problem.evaluate(biased(strength), problem.split("select"))
        return np.stack(Known.played)

    same, near, other = actions(1.0), actions(1.01), actions(1.0, seed=SEED + 1)
    assert np.array_equal(actions(1.0), same)
    assert (near == same).mean() > 0.98
    assert (other == same).mean() < 0.3
    assert len({column.tobytes() for column in same.T[:, :40]}) == 20  # each level has luck of its own


def test_greedy_takes_the_likeliest(known: Callable[..., ProcgenProblem]) -> None:
    problem = known(action="greedy", count=3)
    problem.evaluate(biased(1.0), problem.split("select"))
    for step, actions in enumerate(Known.played[:40]):
        for slot, action in enumerate(actions):
            stack = torch.zeros(1, 6, 1, 1)
            stack[0, 3], stack[0, 4] = (2000 + slot) % 251, step
            assert action == biased(1.0)(stack).argmax()


def recorded(strength: float, first: int, count: int) -> list[dict[str, Any]]:
    """What is kept of `Known.played`, by loops over levels and steps, straight from the definitions."""
    rows = []
    for slot, level in enumerate(range(first, first + count)):
        earned = [reward(level, t, int(Known.played[t][slot])) for t in range(length(level))]
        for t in range(len(earned)):
            if level % 16 == t % 16:
                stack = torch.zeros(1, 6, 1, 1)
                stack[0, 3], stack[0, 4] = level % 251, t
                action = int(Known.played[t][slot])
                worth = sum(0.99**i * r for i, r in enumerate(earned[t:]))
                behaved = float(biased(strength)(stack)[0, action])
                rows.append(
                    {"at": (level % 251, t), "level": level, "stack": stack, "action": action}
                    | {"worth": worth, "behaved": behaved, "policy": strength}
                )
    return rows


def test_kept_steps_and_their_returns(known: Callable[..., ProcgenProblem]) -> None:
    problem = known()
    kept = problem.evaluate(biased(1.0), problem.split("select")).artifacts
    rows = {row["at"]: row for row in recorded(1.0, 2000, 20)}
    assert len(kept["action"]) == len(rows) > 40
    for i, frame in enumerate(kept["frames"]):
        row = rows[int(frame[3, 0, 0]), int(frame[4, 0, 0])]
        assert (kept["action"][i], kept["level"][i]) == (row["action"], row["level"])
        assert float(kept["return_to_go"][i]) == pytest.approx(row["worth"], rel=1e-12)
        assert float(kept["probability"][i]) == pytest.approx(row["behaved"], rel=1e-12)


def test_long_games_are_cut_on_all_levels_but_those_that_are_reported(known: Callable[..., ProcgenProblem]) -> None:
    problem = known(max_episode_steps=43)
    assert not known().not_comparable_reason and "43 steps" in problem.not_comparable_reason
    for name, cap in (("search", 43), ("select", 43), ("test", 6001)):
        split = problem.split(name)  # type: ignore[arg-type]
        evaluation = problem.evaluate(biased(1.0), split)
        lengths = [min(int(length(level)), cap) for level in problem.levels(split)]
        assert evaluation.samples == sum(lengths)
        for slot, (level, lasts) in enumerate(zip(problem.levels(split), lengths, strict=True)):
            earned = [reward(level, t, int(Known.played[t][slot])) for t in range(lasts)]
            assert float(evaluation.cases[slot]) == pytest.approx(sum(earned), rel=1e-12)


@pytest.mark.parametrize("limit", [10_000, 25])
def test_judgement_is_the_surrogate_advantage(
    known: Callable[..., ProcgenProblem], monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr(procgen, "JUDGED", limit)
    problem, evaluations, rows = known(), [], []
    for strength in (0.5, 1.0, 2.0):
        evaluations.append(problem.evaluate(biased(strength), problem.split("select")))
        rows += recorded(strength, 2000, 20)
    judgement = problem.judgement(evaluations)
    assert len(judgement.inputs) == min(limit, len(rows))
    mean = {level: np.mean([r["worth"] for r in rows if r["level"] == level]) for level in range(2000, 2020)}
    target = biased(3.0)
    score = judgement.score(target(judgement.inputs).float())
    if limit < len(rows):  # the chosen rows, in the order in which they were played
        rows = sorted(rows, key=lambda r: (r["policy"], r["at"][1], r["level"]))
        rows = [rows[round(i * (len(rows) - 1) / (limit - 1))] for i in range(limit)]
        assert [(int(f[3, 0, 0]), int(f[4, 0, 0])) for f in judgement.inputs] == [r["at"] for r in rows]
    terms = [float(target(r["stack"])[0, r["action"]]) / r["behaved"] * (r["worth"] - mean[r["level"]]) for r in rows]
    assert score == pytest.approx(float(np.mean(terms)), rel=1e-5)
    assert abs(score) > 1e-3


def test_temperatures_are_of_actions_that_are_drawn(parent: Parent) -> None:
    assert 1.0 in ProcgenProblem(settings(), parent).action_temperatures
    assert ProcgenProblem(settings(action="greedy"), parent).action_temperatures == ()
