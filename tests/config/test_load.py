import copy
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parents import GOOD, write_parent

from evoens.config.load import differences, find_problem, load, resolved_yaml, shipped_problems
from evoens.config.yaml_file import dump_yaml, read_yaml
from evoens.errors import ConfigError
from evoens.plugins.spec import shipped_strategies
from evoens.settings.procgen import PolicyTuneSettings, ProcgenConfig


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(text: str, path: str = "problems/x.yaml") -> str:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(path).write_text(text)
    return path


def faults(text: str, *sets: str, **more: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(write(text), sets, **more)
    return str(caught.value).splitlines()


def test_every_fault_at_once_each_with_its_place() -> None:
    text = """\
name: a/b
seed: -1
problem:
  game: bigfsh
  levels:
    search: {start: 50, count: 10}
strategy:
  clas: noisy
  sigma: -1
  density: 1.5
search:
  population: many
  populatoin: 3
generations: 2
"""
    assert faults(text) == [
        'problems/x.yaml:1:1: name: expected a name of letters, digits, "_", "." and "-", found "a/b"',
        "problems/x.yaml:1:1: parent: missing; expected a section with checkpoint, train",
        "problems/x.yaml:2:1: seed: expected an integer ≥ 0 and < 9223372036854775808, found -1",
        "problems/x.yaml:4:3: problem.game: expected one of bigfish, bossfight, caveflyer, chaser, climber, coinrun, "
        "dodgeball, fruitbot, heist, jumper, leaper, maze, miner, ninja, plunder, starpilot, "
        'found "bigfsh"; did you mean "bigfish"?',
        "problems/x.yaml:6:5: problem.levels.search: expected levels apart from those of train (0 to 99999), "
        "found 50 to 59",
        'problems/x.yaml:8:3: strategy.clas: unknown key; did you mean "class"?',
        "problems/x.yaml:9:3: strategy.sigma: expected a number > 0 or auto, found -1",
        "problems/x.yaml:10:3: strategy.density: expected a number > 0 and ≤ 1, found 1.5",
        'problems/x.yaml:12:3: search.population: expected an integer ≥ 1 and ≤ 1000000, found "many"',
        'problems/x.yaml:13:3: search.populatoin: unknown key; did you mean "population"?',
        'problems/x.yaml:14:1: generations: unknown key; did you mean "search.generations"?',
    ]


@pytest.mark.parametrize(
    ("override", "fault"),
    [
        ("search.population=many", 'expected an integer ≥ 1 and ≤ 1000000, found "many"'),
        ("search.population=0", "expected an integer ≥ 1 and ≤ 1000000, found 0"),
        ("search.population=16.5", "expected an integer ≥ 1 and ≤ 1000000, found 16.5"),
        ("search.population=true", "expected an integer ≥ 1 and ≤ 1000000, found true"),
        ('search.population="16"', 'expected an integer ≥ 1 and ≤ 1000000, found "16"'),
        ("search.population=", "expected an integer ≥ 1 and ≤ 1000000, found null"),
        ("search.populaton=16", 'unknown key; did you mean "population"?'),
        ("population=16", 'unknown key; did you mean "search.population"?'),
        ("search.racing.stepp=1", 'unknown key; did you mean "step"?'),
        ("strategy.sigma=.nan", "expected a number > 0 or auto, found .nan"),
        ("strategy.sigma=.inf", "expected a number > 0 or auto, found .inf"),
        ("strategy.sigma=1e999", "expected a number > 0 or auto, found .inf"),
        ("strategy.sigma=0", "expected a number > 0 or auto, found 0"),
        ("strategy.sigma=atuo", 'expected a number > 0 or auto, found "atuo"; did you mean "auto"?'),
        ("strategy.sgima=1", 'unknown key; did you mean "sigma"?'),
        ("strategy.wings=1", "unknown key; expected one of sigma, density, parts, class, scope"),
        ("strategy.socpe=head", 'unknown key; did you mean "scope"?'),
        ("strategy.scope=3", "expected a layer, a list of layers, `from: layer`, auto or null, found 3; as text it is "
         'written "3"'),
        ("strategy.scope=[]", "expected a layer, a list of layers, `from: layer`, auto or null, found []"),
        ("strategy.scope={form: head}", "expected a layer, a list of layers, `from: layer`, auto or null, found a "
         "section with form"),
        ("strategy.class=noise", '"noise": expected one of {strategies}, path/to/file.py:Class or '
         'package.module:Class; did you mean "noisy"?'),
        ("strategy.class=none.py:A", '"none.py:A": expected a Python file, found none at '
         "problems/none.py, {here}/none.py"),
        ("strategy.parts=3", "strategy.density: expected 0.3333, as 3 equal parts have, found 0.5"),
        ("parent.train.network=[16, 32]", "expected a list of 3, each an integer ≥ 1, found [16, 32]"),
        ("parent.train.network=[1, 2, 3, 4]", "expected a list of 3, each an integer ≥ 1, found [1, 2, 3, 4]"),
        ("parent.train.network=[1, x, 3]", 'parent.train.network[1]: expected an integer ≥ 1, found "x"'),
        ("parent.train.minibatches=7", "expected a divisor of envs × rollout (16384), found 7"),
        ("parent.train.target_kl=no", 'expected a number > 0 or null, found "no"'),
        ("parent.checkpoint=", "expected a path, found null"),
        ("parent.checkpoint=''", 'expected a path, found ""'),
        ("parent=5", "expected a section with checkpoint, train, found 5"),
        ("trust_region.grid=0.1", "expected a list, each a number > 0, found 0.1"),
        ("selection.size=17", "expected at most search.population (16), found 17"),
        ("search.elites=16", "expected fewer than search.population (16), found 16"),
        ("problem.levels.test.count=0", "expected an integer ≥ 1, found 0"),
        ("problem.levels.test={strat: 5}", 'problem.levels.test.strat: unknown key; did you mean "start"?'),
        ("problem.levels.test.start=2147483647", "problem.levels.test.count: expected levels below 2147483648, "
         "found 2147483647 to 2147483746"),
        ("problem.levels.select.start=1000031", "problem.levels.select: expected levels apart from those of search "
         "(1000000 to 1000031), found 1000031 to 1000062"),
        ("search.racing={levels: 1000001}", "search.racing.levels: expected levels apart from those of select "
         "(2000000 to 2000031), found 1000000 to 2000000"),
        ("name.a=1", 'expected a section at name, found "x"'),
        ("nokey", 'expected key=value, as in search.population=32, found "nokey"'),
        ("=5", 'expected key=value, as in search.population=32, found "=5"'),
        ("a..b=5", 'expected key=value, as in search.population=32, found "a..b=5"'),
        ("seed=[1", 'expected a YAML value, found "[1"'),
    ],
)  # fmt: skip
def test_one_wrong_override_is_one_fault_with_its_place(here: Path, override: str, fault: str) -> None:
    strategies = ", ".join(shipped_strategies())
    assert faults(GOOD, override) == [f"--set {override}: {fault.format(here=here, strategies=strategies)}"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        (GOOD, "", ":1:1: expected a mapping with name, seed, .*, found nothing"),
        (GOOD, "# only a comment", ":1:1: expected a mapping with .*, found nothing"),
        (GOOD, "- 1\n- 2", r":1:1: expected a mapping with .*, found \[1, 2\]"),
        (GOOD, "text", ':1:1: expected a mapping with .*, found "text"'),
        ("  game: bigfish", "\tgame: bigfish", ":3:1: expected spaces, found a tab"),
        ("  game: bigfish", "  difficulty: easy", r":2:1: problem\.game: missing; expected one of bigfish, "),
        ("  game: bigfish", "  game: bigfish\n  game: maze", r":4:3: problem\.game: expected once, found again"),
        ("  population: 16", "  population: 16\nseed: 9223372036854775808", ":10:1: seed: expected an integer ≥ 0"),
        ("  population: 16", "  population: 4\nselection: {size: 8}", r":10:13: selection\.size: expected at most"),
    ],
)  # fmt: skip
def test_faults_of_the_file(old: str, new: str, fault: str) -> None:
    (line,) = faults(GOOD.replace(old, new))
    assert re.match(f"problems/x.yaml{fault}", line), line


def test_what_is_fine_alone_is_checked_together_in_spite_of_other_faults() -> None:
    assert (
        faults(GOOD + "selection: {size: 17, rule: best}\n")
        == [
            'problems/x.yaml:10:23: selection.rule: expected one of greedy, top, found "best"',
            "problems/x.yaml:10:13: selection.size: expected at most search.population (16), found 17",
        ][::-1]
    )


def test_a_wrong_value_brings_no_fault_that_only_its_stand_in_has() -> None:
    assert len(faults(GOOD.replace("16", "many") + "selection: {size: 20}\n")) == 1
    images = (
        "name: x\nproblem: {type: classification, data: digits, splits: {%s}}\nparent: {checkpoint: new.safetensors}"
    )
    half = "{from: train, %s: 0.5}"
    for key, count in (("count", 1), ("share", 2)):  # without them two splits would have what is left of train
        cuts = f"search: {half % key}, select: {half % key}, test: {{from: train}}, train: {{from: train, count: 9}}"
        assert len(faults(f"{images % cuts}\nstrategy: {{class: noisy}}\n")) == count


def test_numbers_that_are_fine() -> None:
    config = load(write(GOOD + "trust_region: {target_kl: 5e-4, grid: [1, 2.5]}\nseed: 012\n")).config
    assert config.trust_region.target_kl == 0.0005
    assert config.trust_region.grid == (1.0, 2.5)
    assert config.seed == 12


@pytest.mark.parametrize(
    ("sets", "elites", "size"),
    [
        (["search.population=16"], 4, 8),
        (["search.population=8"], 4, 8),
        (["search.population=4"], 2, 4),
        (["search.population=1"], 0, 1),
        (["search.population=4", "search.elites=3", "selection.size=1"], 3, 1),
        (["search.population=4", "selection.rule=top"], 2, 4),
    ],
)
def test_elites_and_members_follow_a_small_population(sets: list[str], elites: int, size: int) -> None:
    config = load(write(GOOD), sets).config
    assert (config.search.elites, config.selection.size) == (elites, size)


def test_models_need_no_parent() -> None:
    text = "name: x\nproblem: {type: classification, data: digits}\nstrategy: {class: noisy}\n"
    path = write(text + "parent: {network: lenet-m, checkpoint: gone.pt}\n")
    sets = ["problem.splits.test.from=train", "problem.splits.test.count=0.1"]
    with pytest.raises(ConfigError, match=r"parent\.checkpoint: expected .*a path that ends in \.safetensors where"):
        load(path, sets)
    assert load(path, sets, parent=False).config.parent.checkpoint == "gone.pt"
    with pytest.raises(ConfigError, match="expected one of lenet-s, lenet-m"):
        load(path, [*sets, "parent.network=lenet-q"], parent=False)


def test_elites_that_are_given_are_still_checked() -> None:
    message = "search.elites: expected fewer than search.population (4), found 4"
    assert faults(GOOD, "search.population=4", "search.elites=4") == [
        f"--set search.elites=4: {message.partition(': ')[2]}"
    ]


def test_half_a_range_of_levels_is_enough() -> None:
    levels = load(
        write(GOOD), ["problem.levels.test.count=200", "problem.levels.search.start=5000000"]
    ).config.problem.levels
    assert (levels.test.start, levels.test.count) == (3_000_000, 200)
    assert (levels.search.start, levels.search.count) == (5_000_000, 32)


def test_overrides_apply_in_order_and_make_sections() -> None:
    sets = ["search.population=8", "search.population=32", "search.racing.levels=64", "strategy.sigma=5e-4"]
    config = load(write(GOOD), sets, name="other").config
    assert (config.search.population, config.name, config.strategy.sigma) == (32, "other", 0.0005)
    assert config.search.racing is not None
    assert (config.search.racing.levels, config.search.racing.step) == (64, 16)


def test_a_wrong_name() -> None:
    assert faults(GOOD, name="a/b") == ['--name a/b: expected a name of letters, digits, "_", "." and "-", found "a/b"']


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("695e0514", 'found 695e0514, which YAML reads as .inf; as text it is written "695e0514"'),
        ("0123", 'found 0123, which YAML reads as 123; as text it is written "0123"'),
        ("1e5", 'found 1e5, which YAML reads as 100000.0; as text it is written "1e5"'),
        ("true", 'found true; as text it is written "true"'),
    ],
)
def test_a_name_that_yaml_takes_for_something_else(value: str, says: str) -> None:
    expected = f'name: expected a name of letters, digits, "_", "." and "-", {says}'
    assert faults(GOOD.replace("name: x", f"name: {value}")) == [f"problems/x.yaml:1:1: {expected}"]
    assert faults(GOOD, f"name={value}") == [f"--set name={value}: {expected.partition(': ')[2]}"]
    assert load(write(GOOD.replace("name: x", f'name: "{value}"'))).config.name == value


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ('"a\\0b"', "a path without NUL"),
        ("a" * 3000, "a path of names of at most 200 bytes"),
        ('"a\\uD800"', "a path of characters that there are"),
        ("/".join(["a" * 100] * 50), "a path of names of at most 200 bytes"),
    ],
    ids=["NUL", "long", "surrogate", "long in all"],
)
@pytest.mark.parametrize("key", ["parent.checkpoint", "strategy.class", "data.root", "name"])
def test_what_no_file_can_be_called(key: str, value: str, says: str) -> None:
    (line,) = faults(GOOD, f"{key}={value}")
    if key != "name":
        assert f": expected {says}, found " in line and len(line) < 300 + len(value)


def test_children_are_trained_as_the_parent_but_for_what_is_said() -> None:
    train = "parent.train={learning_rate: 0.002, rollout: 64, minibatches: 4, steps: 99, network: [4, 4, 4]}"
    config = load("procgen_bigfish", ["tune={frames: 9000, minibatches: 2}", train], retrain=True).config
    assert isinstance(config, ProcgenConfig)
    assert config.tune == PolicyTuneSettings(frames=9000, learning_rate=0.002, rollout=64, minibatches=2)
    assert config.tune.whole_frames == 12288 and config.tune.levels == "all"
    plain = load("procgen_bigfish", retrain=True).config
    assert isinstance(plain, ProcgenConfig) and plain.tune is None


@pytest.mark.parametrize(
    ("sets", "says"),
    [
        (["tune.frames=16384"], "tune.critic_warmup: expected fewer than the rollouts of a child (2), found 2"),
        (["tune.network=[4, 4, 4]"], 'unknown key; did you mean "parent.train.network"'),
        (["tune.levels=some"], "expected one of all, share, found"),
        (["tune.levels=share", "problem.levels.train.count=15"], "expected at least search.population (16)"),
        (["tune={frames: 99999}", "parent.train.learning_rate=-1"], "learning_rate=-1: expected a number > 0"),
    ],
)
def test_what_children_cannot_be_trained_by_is_named_once(sets: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load("procgen_bigfish", sets, retrain=True)
    assert says in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_absurd_values_are_named_with_the_other_faults() -> None:
    text = GOOD.replace("population: 16", f"population: 0x{'f' * 5000}\n  elites: -1") + f"seed: {'9' * 5000}\n"
    assert faults("# \x07\n" + text) == [
        "problems/x.yaml:1:3: expected text, found the character 0x07",
        f'problems/x.yaml:10:15: search.population: expected a value of type int, found "0x{"f" * 38}"',
        "problems/x.yaml:11:3: search.elites: expected an integer ≥ 0, found -1",
        f'problems/x.yaml:12:7: seed: expected a value of type int, found "{"9" * 40}"',
    ]
    Path("problems/x.yaml").write_bytes(b"# \xff\n" + GOOD.replace("16", "many").encode())
    with pytest.raises(ConfigError) as caught:
        load("problems/x.yaml")
    assert str(caught.value).splitlines() == [
        "problems/x.yaml:1:3: expected UTF-8 text, found byte 0xff",
        'problems/x.yaml:10:3: search.population: expected an integer ≥ 1 and ≤ 1000000, found "many"',
    ]


# ---- the parent


def test_the_parent_of_another_game_is_its_own() -> None:
    text = GOOD.replace("parent.safetensors", "parents/agent-bigfish.safetensors")
    write_parent(Path("problems/parents/agent-bigfish.safetensors"))
    loaded = load(write(text), ["problem.game=starpilot"])
    assert loaded.config.parent.checkpoint == "parents/agent-starpilot.safetensors"
    said = "--set problem.game=starpilot: the parent is parents/agent-starpilot.safetensors, which is trained first"
    assert loaded.notes == (said,)
    write_parent(Path("problems/parents/agent-starpilot.safetensors"), game="starpilot")
    assert load(write(text), ["problem.game=starpilot"]).notes == (said.removesuffix(", which is trained first"),)
    given = ["problem.game=starpilot", "parent.checkpoint=mine.safetensors"]
    assert load(write(text), given).config.parent.checkpoint == "mine.safetensors" and load(write(text)).notes == ()
    (line,) = faults(text, "problem.game=starpliot")
    assert 'did you mean "starpilot"?' in line


def test_a_missing_parent_is_no_fault() -> None:
    assert load(write(GOOD)).config.parent.checkpoint == "parent.safetensors"


def test_a_good_parent() -> None:
    write_parent(Path("problems/parent.safetensors"))
    assert load(write(GOOD)).config.name == load(write(GOOD), retrain=True).config.name


def test_a_damaged_parent_is_a_fault_unless_it_is_trained_anew() -> None:
    path = write_parent(Path("problems/parent.safetensors"))
    path.write_bytes(path.read_bytes()[:-1])
    (line,) = faults(GOOD)
    assert line.startswith("problems/x.yaml:5:3: parent.checkpoint: problems/parent.safetensors: expected 333 bytes")
    assert line.endswith("--retrain trains one anew")
    load(write(GOOD), retrain=True)


def test_a_parent_without_its_card() -> None:
    write_parent(Path("problems/parent.safetensors")).with_suffix(".json").unlink()
    (line,) = faults(GOOD)
    assert "parent.checkpoint: problems/parent.json: expected a parent's card, found no such file" in line


def test_a_scope_that_the_parent_does_not_have() -> None:
    load(write(GOOD), ["strategy.scope=trunk.liner"])  # no parent yet: found before its training starts
    write_parent(Path("problems/parent.safetensors"))
    load(write(GOOD), ["strategy.scope={from: trunk.linear}"])
    assert load(write(GOOD), ["strategy.scope=auto"]).config.strategy.scope == "auto"
    (line,) = faults(GOOD, "strategy.scope=[trunk, trunk.liner]")
    expected = 'expected a layer of the parent, found "trunk.liner"; did you mean "trunk.linear"?'
    assert line == f"--set strategy.scope=[trunk, trunk.liner]: {expected}"


@pytest.mark.parametrize(
    ("card", "fault"),
    [
        ({"game": "maze"}, r":3:3: problem\.game: expected maze, as the parent .* was trained on, found bigfish"),
        ({"frame_stack": 1}, r":5:3: problem\.frame_stack: expected 1, as the parent"),
        ({"network": [32, 64, 128]}, r":5:3: parent\.train\.network: expected \[32, 64, 128\], as the parent"),
        ({"levels": {"start": 0, "count": 0}}, r":5:3: problem\.levels\.search: expected levels that the parent"),
    ],
)
def test_a_parent_that_does_not_belong(card: dict[str, Any], fault: str) -> None:
    write_parent(Path("problems/parent.safetensors"), **card)
    first = faults(GOOD)[0]
    assert re.match(f"problems/x.yaml{fault}", first), first


# ---- the strategy


def test_a_strategy_of_ones_own_beside_the_yaml_or_in_the_working_folder() -> None:
    source = (
        "from evoens import Strategy\nclass Mine(Strategy):\n    def __init__(self, sigma, density, parts, tilt): ...\n"
    )
    text = GOOD.replace("noisy", "my.py:Mine")
    Path("my.py").write_text(source)
    assert faults(text) == ["problems/x.yaml:7:3: strategy.tilt: missing; my.py:Mine needs it"]
    assert load(write(text), ["strategy.tilt=2"]).config.strategy.extra == {"tilt": 2}
    Path("problems/my.py").write_text(source.replace("tilt", "slope"))
    assert faults(text, "strategy.tilt=2") == [
        "--set strategy.tilt=2: unknown key; expected one of sigma, density, parts, slope, class, scope",
        "problems/x.yaml:7:3: strategy.slope: missing; my.py:Mine needs it",
    ]


def test_a_strategy_without_a_scale() -> None:
    text = GOOD.replace("noisy", "sparse")
    config = load(write(text), ["strategy.rounds=3", "strategy.structure=2:4", "strategy.output=true"]).config
    assert config.strategy.extra == {"rounds": 3, "structure": "2:4", "output": True}
    assert load(write(text), ["strategy.sigma=auto"]).config.strategy.sigma == "auto"
    message = "sparse has no scale; expected none, found 0.05"
    assert faults(text, "strategy.sigma=0.05") == [f"--set strategy.sigma=0.05: {message}"]
    assert faults(text, "strategy.rouns=3") == ['--set strategy.rouns=3: unknown key; did you mean "rounds"?']
    Path("my.py").write_text(
        "from evoens import Strategy\nclass Mine(Strategy):\n    scaled = False\n    def __init__(self, parts): ...\n"
    )
    assert faults(GOOD.replace("noisy", "my.py:Mine")) == [
        "problems/x.yaml:7:3: strategy.class: expected a class that takes density, found one that takes parts"
    ]


def test_a_strategy_that_cannot_take_the_usual_arguments() -> None:
    Path("my.py").write_text("from evoens import Strategy\nclass Mine(Strategy):\n    def __init__(self, sigma): ...\n")
    assert faults(GOOD.replace("noisy", "my.py:Mine")) == [
        f"problems/x.yaml:7:3: strategy.class: expected a class that takes {key}, found one that takes sigma"
        for key in ("density", "parts")
    ]


# ---- what is written and found


@pytest.mark.parametrize("problem", shipped_problems())
def test_the_resolved_config_loads_back_to_the_same(problem: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for pool in ("train", "val"):
        (here / "data" / "ImageNet" / pool).mkdir(parents=True)
    monkeypatch.setenv("EVOENS_DATA", str(here / "data"))
    retrain = not problem.startswith("imagenet")  # torchvision's networks are not trained here
    loaded = load(problem, ["trust_region.target_kl=5e-4", "report.bootstrap=500"], retrain=retrain)
    again = load(write(loaded.resolved, "runs/r/config.resolved.yaml"), retrain=retrain)
    assert again.config == loaded.config
    assert again.base == loaded.base.resolve()
    assert again.resolved == loaded.resolved
    assert differences(loaded.config, Path("runs/r/config.resolved.yaml")) == []


def test_the_resolved_config_has_every_key() -> None:
    loaded = load(write(GOOD))
    value = read_yaml(Path(write(resolved_yaml(loaded.config, loaded.base), "r.yaml"))).value
    assert value["parent"]["train"]["learning_rate"] == 0.0005
    search = {"population": 16, "generations": 1, "elites": 4, "diversity": 0.0, "diversity_by": "disagreement"}
    none = dict.fromkeys(("dimensions", "objectives", "measures", "cells", "racing"))
    assert value["search"] == {**search, **none, "by": "elites"}
    assert value["strategy"] == {"class": "noisy", "sigma": "auto", "density": 0.5, "parts": 2, "scope": None}


def test_differences_are_named() -> None:
    saved = Path(write(load(write(GOOD)).resolved, "r.yaml"))
    other = load(write(GOOD), ["search.population=32", "strategy.sigma=0.1"]).config
    assert differences(other, saved) == [
        "search.population: 16 there, 32 here",
        'strategy.sigma: "auto" there, 0.1 here',
    ]


def test_a_setting_that_there_was_not_had_its_default() -> None:
    loaded = load(write(GOOD))
    saved = Path(write(loaded.resolved.replace("  replacement: false\n", ""), "r.yaml"))
    assert differences(loaded.config, saved) == []
    other = load(write(GOOD), ["selection.replacement=true"]).config
    assert differences(other, saved) == ["selection.replacement: false there, true here"]


def test_plain_names() -> None:
    assert find_problem("procgen_bigfish").name == "procgen_bigfish.yaml"
    own = write(GOOD, "problems/mine.yaml")
    assert str(find_problem("mine")) == own
    with pytest.raises(ConfigError, match='found neither; did you mean "procgen_bigfish"'):
        find_problem("problems/procgen_bigfsh.yaml")
    with pytest.raises(ConfigError, match="found a folder"):
        find_problem("problems")


def test_shipped_problems_are_fine_as_they_are() -> None:
    paper = load("procgen_bigfish_paper").config
    # dissertation, chapter 9: the table of hyperparameters, and σ of table 9.2
    assert paper.parent.train.network == (32, 64, 128)
    assert (paper.parent.train.steps, paper.parent.train.epochs, paper.parent.train.target_kl) == (10_000_000, 3, 0.01)
    assert (paper.strategy.sigma, paper.strategy.density, paper.selection.size) == (0.06, 0.2, 8)
    assert (paper.problem.levels.train.count, paper.selection.rule, paper.search.generations) == (200, "top", 1)
    default = load("procgen_bigfish").config
    assert default.problem.levels.test.count >= 100


# ---- anything at all


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**64) | st.floats() | st.sampled_from(["auto", "noisy", "a", ""]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "start", "game"]), inner, max_size=2)
    ),
    max_leaves=4,
)
PLACES = [
    "name", "seed", "problem", "problem.game", "problem.levels", "problem.levels.train", "problem.levels.test.count",
    "parent", "parent.checkpoint", "parent.train", "parent.train.network", "strategy", "strategy.class",
    "strategy.sigma", "strategy.parts", "strategy.x", "trust_region.grid", "search", "search.population",
    "search.racing", "selection.size", "new",
]  # fmt: skip


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(PLACES), JUNK, min_size=1, max_size=5))
def test_junk_is_refused_line_by_line_or_taken_but_never_crashes(changes: dict[str, Any]) -> None:
    value = copy.deepcopy(read_yaml(Path(write(GOOD))).value)
    for place, junk in changes.items():
        section = value
        *around, last = place.split(".")
        for key in around:
            section = section.setdefault(key, {}) if isinstance(section, dict) else {}
        if isinstance(section, dict):
            section[last] = junk
    try:
        load(write(dump_yaml(value)))
    except ConfigError as error:
        lines = str(error).splitlines()
        assert all(line.startswith("problems/x.yaml:") for line in lines), lines
        assert len(set(lines)) == len(lines)


def test_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; from evoens.config.load import load; load('procgen_bigfish');"
        "heavy = {'torch', 'matplotlib', 'scipy', 'stable_baselines3', 'procgen', 'numpy'} & sys.modules.keys();"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
