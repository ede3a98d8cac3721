import multiprocessing
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from procgen import ProcgenGym3Env
from stable_baselines3.common.vec_env import VecMonitor

from evoens.errors import CheckpointError
from evoens.settings.procgen import Levels
from evoens.tasks.procgen_env import LevelEnv, ProcgenVecEnv, level_states

ENVS, SEED = 6, 5
LEVELS = Levels(start=3, count=50)


def actions(steps, envs=ENVS, seed=0):
    return np.random.default_rng(seed).integers(0, 15, (steps, envs), dtype=np.int32)


def adapter(game="bigfish", levels=LEVELS, seed=SEED):
    return ProcgenVecEnv(game, "easy", levels, ENVS, seed)


def plain(game="bigfish", envs=ENVS, levels=LEVELS, seed=SEED):
    return ProcgenGym3Env(
        envs, game, distribution_mode="easy", start_level=levels.start, num_levels=levels.count, rand_seed=seed
    )


@pytest.mark.parametrize("game", ["bigfish", "coinrun", "starpilot"])
def test_plays_what_procgen_plays(game):
    env, oracle = adapter(game), plain(game)
    frames = env.reset()
    assert np.array_equal(frames, oracle.observe()[1]["rgb"])
    seen_done = 0
    for action in actions(300):
        last = frames
        frames, rewards, dones, infos = env.step(action)
        oracle.act(action)
        reward, observed, first = oracle.observe()
        assert np.array_equal(frames, observed["rgb"])
        assert np.array_equal(rewards, reward)
        assert np.array_equal(dones, first)
        for i in range(ENVS):
            assert ("terminal_observation" in infos[i]) == bool(first[i])
            if first[i]:
                assert np.array_equal(infos[i]["terminal_observation"], last[i])
                assert infos[i]["TimeLimit.truncated"] is False
                seen_done += 1
        rewards += 1  # SB3 writes to it
    assert seen_done


def test_rewards_belong_to_the_episode_that_ended():
    """Coinrun pays 10 for reaching the coin, with which the episode ends: no other return is possible than 0 or 10."""
    env = VecMonitor(adapter("coinrun", Levels(start=0, count=0)))
    env.reset()
    right = np.full(ENVS, 7)
    returns = []
    for t in range(1500):
        _, rewards, dones, infos = env.step(np.where(actions(1, seed=t)[0] < 5, 8, right))
        assert not rewards[~dones].any()
        returns += [float(i["episode"]["r"]) for i in infos if "episode" in i]
    assert set(returns) == {0.0, 10.0}


def test_seed_acts_at_the_next_reset():
    env, other = adapter(seed=1), adapter(seed=2)
    first = env.reset()
    assert not np.array_equal(first, other.reset())
    other.seed(1)
    assert np.array_equal(first, other.reset())
    other.step(actions(1)[0])
    assert not np.array_equal(first, other.reset())  # no new seed: the next levels


def test_reset_in_the_middle_starts_new_episodes():
    env = adapter()
    env.reset()
    for action in actions(5):
        frames = env.step(action)[0]
    again = env.reset()
    assert not any(np.array_equal(a, b) for a, b in zip(frames, again, strict=True))
    assert env.reset_infos == [{}] * ENVS


def test_resumes_exactly_in_a_fresh_env():
    env = adapter()
    env.reset()
    for action in actions(40):
        frames = env.step(action)[0]
    saved = env.get_states()
    fresh = adapter(seed=77)
    assert np.array_equal(fresh.set_states(saved), frames)
    for action in actions(200, seed=1):
        for a, b in zip(env.step(action)[:3], fresh.step(action)[:3], strict=True):
            assert np.array_equal(a, b)


def test_refuses_states_that_would_crash_or_mislead():
    env = adapter()
    saved = env.get_states()
    flipped = bytearray(saved.states[2])
    flipped[9000] ^= 4
    states = (*saved.states[:2], bytes(flipped), *saved.states[3:])
    for damaged in (states, saved.states[:-1], (saved.states[0][:-1], *saved.states[1:])):
        with pytest.raises(CheckpointError, match="damaged"):
            env.set_states(replace(saved, states=damaged))
    with pytest.raises(CheckpointError, match="game: expected 'coinrun', found 'bigfish'"):
        adapter("coinrun").set_states(saved)
    with pytest.raises(CheckpointError, match="count: expected 9, found 50"):
        adapter(levels=Levels(start=3, count=9)).set_states(saved)


@pytest.mark.parametrize("game", ["bigfish", "maze", "ninja"])
def test_level_env_plays_the_levels_asked_for(game):
    """Oracle: a plain env that knows no other level, and procgen's own word for the level's seed."""
    levels = [3_000_000, 7, 41, 7, 2**31 - 2]
    env = LevelEnv(game, "easy", levels)
    oracles = [plain(game, 1, Levels(start=level, count=1), seed=i) for i, level in enumerate(levels)]
    frames = env.frames()
    assert [i["level_seed"] for i in env._env.get_info()] == levels
    going = np.ones(len(levels), bool)
    for action in actions(250, len(levels)):
        for i in np.flatnonzero(going):
            assert np.array_equal(frames[i], oracles[i].observe()[1]["rgb"][0])
            oracles[i].act(action[i : i + 1])
        frames, rewards, done = env.step(action)
        for i in np.flatnonzero(going):
            reward, _, first = oracles[i].observe()
            assert (rewards[i], done[i]) == (reward[0], first[0])
        going &= ~done
    assert not going.all()


def test_level_env_plays_the_same_again_and_slots_do_not_mix():
    moves = actions(60, 4)

    def play(levels, moves):
        env = LevelEnv("bigfish", "easy", levels)
        return [env.frames(), *(out for move in moves for out in env.step(move))]

    first, second = play([10, 11, 12, 13], moves), play([10, 11, 12, 13], moves)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(np.array_equal(a[2:3], b) for a, b in zip(first, play([12], moves[:, 2:3]), strict=True))


@pytest.mark.parametrize("game", ["bigfish", "maze", "ninja", "starpilot"])
def test_slots_that_are_kept_go_on_as_if_none_had_gone(game):
    levels, moves, slots = [10, 11, 12, 13, 14], actions(200, 5), np.arange(5)
    whole, fewer = LevelEnv(game, "easy", levels), LevelEnv(game, "easy", levels)
    for step, move in enumerate(moves):
        if step in (20, 60, 110):
            kept = {20: np.array([0, 2, 4]), 60: np.array([2, 1]), 110: np.array([0])}[step]
            fewer.keep(kept)
            slots = slots[kept]
            assert len(fewer) == len(slots)
            assert np.array_equal(fewer.frames(), whole.frames()[slots])
        expected = whole.step(move)
        for a, b in zip(fewer.step(move[slots]), expected, strict=True):
            assert np.array_equal(a, b[slots])


def test_level_states_are_those_of_the_levels():
    states = level_states("bigfish", "easy", [5, 6, 5])
    assert states[0] == states[2] != states[1]
    hard = level_states("bigfish", "hard", [5])
    assert hard[0] != states[0]


def _step_inherited(env, pipe):
    pipe.send(env.step(np.full(2, 4))[0])


def test_level_env_survives_a_fork():
    env = LevelEnv("bigfish", "easy", [1, 2])
    env.frames()
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_step_inherited, args=(env, theirs))
    process.start()
    assert ours.poll(20)
    assert np.array_equal(ours.recv(), env.step(np.full(2, 4))[0])
    process.join()


def test_no_banner():
    done = subprocess.run(
        [sys.executable, "-c", "import evoens.tasks.procgen_env, evoens.tasks.ppo"],
        capture_output=True,
        check=True,
        text=True,
    )
    assert "Gym" not in done.stderr + done.stdout
