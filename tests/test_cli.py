import json
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from parents import GOOD, write_parent, write_policy
from sample_run import write_run
from typer.testing import CliRunner, Result

from evoens.cli import app
from evoens.config.load import begin, load
from evoens.errors import CheckpointError
from evoens.storage.checkpoint import RunLock, clear


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("problems").mkdir()
    Path("problems/x.yaml").write_text(GOOD)
    write_parent(Path("problems/parent.safetensors"))
    return tmp_path


def call(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def process(*args: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "evoens", *args], capture_output=True, text=True, check=False, timeout=120, **more
    )


# ---- what users get wrong: one clear error with its place, exit code 2, no run folder


@dataclass
class Wrong:
    """A command line, the YAML's text or the change that makes it wrong, files beside it, and what is said."""

    says: str
    old: str = ""
    new: str = ""
    args: tuple[str, ...] = ("run", "problems/x.yaml")
    files: dict[str, str | bytes] = field(default_factory=dict)


def strategy(says: str, source: str, name: str = "my.py:Mine") -> Wrong:
    return Wrong(f"problems/x.yaml:7:3: strategy.class: {says}", "noisy", name, files={"problems/my.py": source})


RUN = ("run", "problems/x.yaml")
DERIVED = "from evoens import Strategy\nclass Mine(Strategy):\n"
AT = "problems/x.yaml"
WRONG = {
    "misspelt key": Wrong(
        f'{AT}:9:3: search.populatoin: unknown key; did you mean "population"?', "population", "populatoin"
    ),
    "key of another section": Wrong(
        f'{AT}:1:1: population: unknown key; did you mean "search.population"?', "name: x", "population: 4\nname: x"
    ),
    "wrong type": Wrong(
        f'{AT}:9:3: search.population: expected an integer ≥ 1 and ≤ 1000000, found "many"', "16", "many"
    ),
    "too small": Wrong(f"{AT}:9:3: search.population: expected an integer ≥ 1 and ≤ 1000000, found 0", "16", "0"),
    "more than a machine can hold": Wrong(
        f"{AT}:9:3: search.population: expected an integer ≥ 1 and ≤ 1000000, found 1000000000000",
        "16",
        "1000000000000",
    ),
    "duplicate key": Wrong(f"{AT}:10:3: search.population: expected once, found again", "16", "16\n  population: 8"),
    "tab": Wrong(f"{AT}:3:1: expected spaces, found a tab", "  game", "\tgame"),
    "bracket left open": Wrong(f"{AT}:10:1: while parsing a flow sequence", "16", "[16"),
    "alias": Wrong(f"{AT}:9:15: expected a value, found the alias *a", "16", "*a"),
    "python object": Wrong(
        f"{AT}:9:15: search.population: expected a plain value, found the tag",
        "16",
        "!!python/object/apply:os.getcwd []",
    ),
    "empty file": Wrong(f"{AT}:1:1: expected a mapping with name, ", GOOD, ""),
    "a list": Wrong(f"{AT}:1:1: expected a mapping with name, ", GOOD, "- 1\n"),
    "two documents": Wrong(f"{AT}:2:1: expected a single document", GOOD, "a: 1\n---\nb: 2\n"),
    "missing key": Wrong(
        f"{AT}:2:1: problem.game: missing; expected one of bigfish, ", "  game: bigfish", "  action: greedy"
    ),
    "missing section": Wrong(f"{AT}:1:1: strategy: missing; expected a section", "strategy:\n  class: noisy\n", ""),
    "unknown game": Wrong(f"{AT}:3:3: problem.game: expected one of bigfish, ", "bigfish", "bigfsh"),
    "k larger than the population": Wrong(
        f"{AT}:11:3: selection.size: expected at most search.population (16), found 17",
        "16",
        "16\nselection:\n  size: 17",
    ),
    "overlapping levels": Wrong(
        f"{AT}:4:12: problem.levels.search: expected levels apart from those of train",
        "bigfish",
        "bigfish\n  levels: {search: {start: 5, count: 32}}",
    ),
    "not a number": Wrong(
        f"{AT}:8:3: strategy.sigma: expected a number > 0 or auto, found .nan", "noisy", "noisy\n  sigma: .nan"
    ),
    "infinite": Wrong(
        f"{AT}:8:3: strategy.sigma: expected a number > 0 or auto, found .inf", "noisy", "noisy\n  sigma: .inf"
    ),
    "negative sigma": Wrong(
        f"{AT}:8:3: strategy.sigma: expected a number > 0 or auto, found -0.0005", "noisy", "noisy\n  sigma: -5e-4"
    ),
    "name with a slash": Wrong(
        f'{AT}:1:1: name: expected a name of letters, digits, "_", "." and "-", found "a/b"', ": x", ": a/b"
    ),
    "--name with a slash": Wrong("--name ../x: expected a name of letters, ", args=(*RUN, "--name", "../x")),
    "no such YAML": Wrong("problems/y.yaml: expected a YAML file or one of ", args=("run", "problems/y.yaml")),
    "no such problem": Wrong("procgen_bigfsh: expected a YAML file or one of ", args=("run", "procgen_bigfsh")),
    "a folder": Wrong("problems: expected a YAML file, found a folder", args=("run", "problems")),
    "not text": Wrong(f"{AT}:1:1: expected UTF-8 text, found byte 0xff", files={AT: b"\xff\xfe"}),
    "corrupt parent": Wrong(
        f"{AT}:5:3: parent.checkpoint: problems/parent.safetensors: expected 333 bytes",
        files={"problems/parent.safetensors": b"weights"},
    ),
    "parent with a broken card": Wrong(
        f"{AT}:5:3: parent.checkpoint: problems/parent.json: expected a parent's card",
        files={"problems/parent.json": "{"},
    ),
    "parent without a card": Wrong(
        f"{AT}:5:3: parent.checkpoint: problems/other.json: expected a parent's card",
        "parent.s",
        "other.s",
        files={"problems/other.safetensors": b"weights"},
    ),
    "parent of another game": Wrong(f"{AT}:3:3: problem.game: expected bigfish, as the parent", "bigfish", "maze"),
    "parent of another size": Wrong(
        "--set parent.train.network=[32, 64, 128]: expected [16, 32, 32], as the parent",
        args=(*RUN, "--set", "parent.train.network=[32, 64, 128]"),
    ),
    "no strategy file": strategy(
        '"none.py:Mine": expected a Python file, found none at problems/none.py', "", "none.py:Mine"
    ),
    "unknown strategy": strategy('"nosy": expected one of noisy', "", "nosy"),
    "strategy does not parse": strategy('"my.py:Mine": expected Python, found an error at ', "class Mine(:\n"),
    "strategy has no such class": strategy('"my.py:Mine": expected a class Mine in ', "class Other: ...\n"),
    "strategy imports what is not there": strategy('"my.py:Mine": ', f"import numpyy\n{DERIVED}    pass\n"),
    "strategy does not import": strategy(
        '"my.py:Mine" does not import: ZeroDivisionError', f"{DERIVED}    x = 1 / 0\n"
    ),
    "no Strategy": strategy('"my.py:Mine": expected a subclass of Strategy', "class Mine: ...\n"),
    "strategy without perturb": strategy('"my.py:Mine": ', f"{DERIVED}    pass\n"),
    "strategy that cannot be made": strategy(
        "the Strategy cannot be made: RuntimeError: strange",
        f"{DERIVED}    def __init__(self, sigma, density, parts): raise RuntimeError('strange')\n"
        "    def perturb(self, name, weight, gene): ...\n",
    ),
    "unknown key of a strategy": Wrong(
        '--set strategy.sgima=1: unknown key; did you mean "sigma"?', args=(*RUN, "--set", "strategy.sgima=1")
    ),
    "--set of an unknown key": Wrong(
        '--set search.populaton=8: unknown key; did you mean "population"?', args=(*RUN, "--set", "search.populaton=8")
    ),
    "--set without =": Wrong(
        '--set search: expected key=value, as in search.population=32, found "search"', args=(*RUN, "--set", "search")
    ),
    "--set of a wrong value": Wrong(
        '--set search.population=many: expected an integer ≥ 1 and ≤ 1000000, found "many"',
        args=(*RUN, "--set", "search.population=many"),
    ),
    "--set into a value": Wrong(
        '--set name.a=1: expected a section at name, found "x"', args=(*RUN, "--set", "name.a=1")
    ),
    "unknown command": Wrong("No such command 'rnu'", args=("rnu",)),
    "unknown option": Wrong("No such option: --nmae (Possible options: --name)", args=(*RUN, "--nmae", "y")),
    "no argument": Wrong("Missing argument 'problem'", args=("run",)),
    "one argument too many": Wrong("Got unexpected extra argument", args=(*RUN, "more")),
    "unknown benchmark": Wrong("'everything' is not one of 'population', 'ppo', 'noise'", args=("bench", "everything")),
    "resume of no run": Wrong(
        "error: problems: expected a run's folder with a config.resolved.yaml in it, found none",
        args=("resume", "problems"),
    ),
    "report of no run": Wrong("error: y: expected a run's folder", args=("report", "y")),
    "play of nothing": Wrong("error: ", args=("play", "runs/y")),
    "verify of nothing": Wrong("error: y: expected the folder of a run or of an ensemble", args=("verify", "y")),
    "inspect of nothing": Wrong(
        "error: runs/y: expected a run's folder, an ensemble's folder or a parent", args=("inspect", "y")
    ),
    "train-parent over one": Wrong(
        "error: problems/parent.safetensors: expected no parent yet, found one; --retrain",
        args=("train-parent", "problems/x.yaml"),
    ),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_one_clear_error_with_its_place_exit_code_2_and_no_run_folder(wrong: Wrong) -> None:
    path = Path("problems/x.yaml")
    path.write_text(path.read_text().replace(wrong.old, wrong.new) if wrong.old else path.read_text())
    for name, content in wrong.files.items():
        Path(name).write_bytes(content if isinstance(content, bytes) else content.encode())
    before = sorted(Path().rglob("*"))
    result = call(*wrong.args)
    assert result.exit_code == 2, result.output
    lines = [line for line in result.stderr.splitlines() if line and not line.startswith(("Usage: ", "Try "))]
    assert len(lines) == 1, result.stderr
    assert wrong.says in lines[0]
    assert result.stdout == ""
    assert [path for path in sorted(Path().rglob("*")) if "__pycache__" not in path.parts] == before


def test_several_faults_are_several_lines() -> None:
    result = call("run", "problems/x.yaml", "--set", "search.population=many", "--set", "seed=-1", "--name", "a/b")
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 3


def test_as_a_process_there_is_no_traceback_and_no_colour() -> None:
    result = process("run", "problems/x.yaml", "--set", "search.population=many")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == '--set search.population=many: expected an integer ≥ 1 and ≤ 1000000, found "many"\n'


# ---- commands that start at once


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["list"],
        ["validate", "problems/x.yaml"],
        ["list", "--json"],
    ],
    ids=" ".join,
)
def test_quick_commands_import_nothing_heavy_and_print_no_colour(args: list[str]) -> None:
    code = (
        "import sys\nfrom evoens.cli import app\n"
        "try: app(sys.argv[1:])\nexcept SystemExit as end: assert not end.code\n"
        "heavy = {'torch', 'matplotlib', 'scipy', 'stable_baselines3', 'procgen', 'numpy'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert "\x1b" not in result.stdout + result.stderr


def test_help_names_every_command() -> None:
    text = call("--help").stdout
    commands = [
        "run",
        "resume",
        "compare",
        "train-parent",
        "validate",
        "list",
        "inspect",
        "report",
        "verify",
        "check",
        "bench",
        "play",
        "diversity",
        "pool",
        "export",
        "distill",
    ]
    assert [line.split()[0] for line in text.partition("Commands:")[2].splitlines() if line[2:3].strip()] == commands
    assert "..." not in text.partition("Commands:")[2]


def test_validate() -> None:
    result = call("validate", "problems/x.yaml", "procgen_bigfish_paper")
    assert (result.exit_code, result.stdout) == (0, "problems/x.yaml: ok\nprocgen_bigfish_paper: ok\n")
    result = call("validate", "problems/x.yaml", "--set", "selection.size=16")
    said = "selection.size is search.population (16): members and random children are the same networks"
    assert (result.exit_code, result.stdout) == (0, f"problems/x.yaml: ok\n{said}, and nothing is selected\n")
    result = call("validate", "problems/x.yaml", "--set", "selection.size=16")
    said = "selection.size is search.population (16): members and random children are the same networks"
    assert (result.exit_code, result.stdout) == (0, f"problems/x.yaml: ok\n{said}, and nothing is selected\n")
    result = call("validate", "problems/x.yaml", "nothing", "--set", "strategy.sigma=5e-4")
    assert (result.exit_code, result.stdout) == (2, "problems/x.yaml: ok\n")
    result = call("validate", "problems/x.yaml", "--json", "--set", "seed=-1")
    assert result.exit_code == 2
    assert json.loads(result.stdout) == {
        "ok": False,
        "faults": ["--set seed=-1: expected an integer ≥ 0 and < 9223372036854775808, found -1"],
    }


def test_list(here: Path) -> None:
    write_run(here / "runs" / "one")
    found = json.loads(call("list", "--json").stdout)
    assert {"procgen_bigfish", "procgen_bigfish_paper", "x"} <= {row["name"] for row in found["problems"]}
    assert all(row["about"] for row in found["problems"] if row["name"] != "x")
    assert "noisy" in [row["name"] for row in found["strategies"]]
    assert [(row["name"], row["state"]) for row in found["runs"]] == [("one", "finished")]
    text = call("list").stdout
    assert "noisy" in text
    assert "finished" in text


def test_inspect(here: Path) -> None:
    report = write_run(here / "runs" / "one")
    found = json.loads(call("inspect", "one", "--json").stdout)
    assert (found["kind"], found["members"]) == ("run", report["ensemble"]["members"])
    key = found["best"]["key"]
    assert json.loads(call("inspect", "runs/one", key[:4], "--json").stdout)["key"] == key
    assert key in call("inspect", "one").stdout
    assert json.loads(call("inspect", "problems/parent.safetensors", "--json").stdout)["game"] == "bigfish"
    assert call("inspect", "problems/x.yaml").stdout == load("problems/x.yaml").resolved
    result = call("inspect", "one", "0")
    assert result.exit_code == 2
    assert "expected one child whose key begins with 0" in result.stderr


def test_dry_run_says_what_would_be_done_and_does_nothing() -> None:
    write_policy(Path("problems/parent.safetensors"))
    found = json.loads(call("run", "problems/x.yaml", "--dry-run", "--json", "--set", "search.generations=2").stdout)
    assert found["folder"] == "runs/x"
    assert found["splits"]["test"] == "3000000 to 3000099"
    assert found["evaluations"]["search"] == 2 * 16 + 1
    assert found["training_steps"] == 0
    assert found["seconds"] > 0
    assert not Path("runs").exists()
    assert "seconds" in call("run", "problems/x.yaml", "--dry-run").stdout
    retrained = json.loads(call("run", "problems/x.yaml", "--dry-run", "--json", "--retrain").stdout)
    assert retrained["training_steps"] == 8_000_000
    assert "seconds" not in retrained


def test_a_reader_that_goes_is_no_error() -> None:
    command = f"{sys.executable} -m evoens inspect procgen_bigfish | head -c 0"
    result = subprocess.run(command, shell=True, capture_output=True, text=True, check=False)
    assert result.stderr == ""


# ---- folders of runs


class Stopped:
    """Stands in for a Run that Ctrl-C stops."""

    def execute(self) -> None:
        raise KeyboardInterrupt


def test_ctrl_c_prints_the_command_that_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(loaded: Any, folder: Path, *_: Any, **__: Any) -> Stopped:
        folder.mkdir(parents=True)
        (folder / "config.resolved.yaml").write_text(loaded.resolved)
        return Stopped()

    monkeypatch.setattr("evoens.commands.session.build", build)
    result = call("run", "problems/x.yaml", "--runs", "my runs")
    assert result.exit_code == 130
    assert result.stderr == "interrupted; go on with:\n  python -m evoens resume 'my runs/x'\n"
    monkeypatch.setattr("evoens.commands.session.build", lambda *_, **__: Stopped())
    assert call("resume", "my runs/x").exit_code == 130
    again = call("run", "problems/x.yaml", "--runs", "my runs")
    assert again.exit_code == 2
    assert "found this one, not finished; go on with:\n  python -m evoens resume 'my runs/x'" in again.stderr
    other = call("run", "problems/x.yaml", "--runs", "my runs", "--set", "search.population=32")
    assert other.exit_code == 2
    assert "search.population: 16 there, 32 here" in other.stderr


def test_ctrl_c_before_there_is_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evoens.commands.session.build", lambda *_, **__: Stopped())
    result = call("run", "problems/x.yaml")
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_a_finished_run_and_a_foreign_folder_are_left_alone() -> None:
    Path("runs/x").mkdir(parents=True)
    Path("runs/x/notes.txt").write_text("mine")
    result = call("run", "problems/x.yaml")
    assert result.exit_code == 2
    assert "found one that is not a run's; choose --name" in result.stderr
    Path("runs/x/config.resolved.yaml").write_text(load("problems/x.yaml").resolved)
    Path("runs/x/report.json").write_text("{}")
    assert "found this one, finished: see runs/x/report.html" in call("run", "problems/x.yaml").stderr


def test_a_dry_run_needs_no_room() -> None:
    write_policy(Path("problems/parent.safetensors"))
    Path("runs/x").mkdir(parents=True)
    Path("runs/x/config.resolved.yaml").write_text(load("problems/x.yaml").resolved)
    result = call("run", "problems/x.yaml", "--dry-run")
    assert result.exit_code == 0 and "evaluations" in result.stdout


def test_overwrite_takes_the_place_of_a_run_and_of_nothing_else() -> None:
    Path("runs/x/parent").mkdir(parents=True)
    Path("runs/x/notes.txt").write_text("mine")
    assert "found one that is not a run's" in call("run", "problems/x.yaml", "--overwrite").stderr
    Path("runs/x/config.resolved.yaml").write_text(load("problems/x.yaml").resolved)
    with RunLock(Path("runs/x/parent")):
        result = call("run", "problems/x.yaml", "--overwrite", "--retrain")
        assert result.exit_code == 2 and "runs/x/parent: expected a folder that no other run uses" in result.stderr
    assert Path("runs/x/notes.txt").exists()
    with RunLock(Path("runs/x")):
        clear(Path("runs/x"))
    assert [path.name for path in Path("runs/x").iterdir()] == [".lock"]


def test_a_run_that_comes_second_leaves_the_first_one_s_settings() -> None:
    first, second = load("problems/x.yaml"), load("problems/x.yaml", ["seed=5"])
    begin(Path("runs/x"), first)
    begin(Path("runs/x"), first)  # which goes on
    with pytest.raises(CheckpointError, match="another, which has begun there meanwhile; choose --name") as caught:
        begin(Path("runs/x"), second)
    assert "seed: 0 there, 5 here" in str(caught.value)
    assert Path("runs/x/config.resolved.yaml").read_text() == first.resolved
    with RunLock(Path("runs/x")), pytest.raises(CheckpointError, match="held by process"):
        begin(Path("runs/x"), second, overwrite=True)
    begin(Path("runs/x"), second, overwrite=True)
    assert Path("runs/x/config.resolved.yaml").read_text() == second.resolved


def test_version() -> None:
    assert call("--version").stdout == f"evoens {version('evoens')}\n"


def test_resume_trains_on_only_where_the_run_trained_its_own_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, bool]] = []

    def build(loaded: Any, folder: Path, reporter: Any, *, retrain: bool, force: bool, overwrite: bool) -> Stopped:
        seen.append((retrain, force))
        return Stopped()

    monkeypatch.setattr("evoens.commands.session.build", build)
    Path("runs/x").mkdir(parents=True)
    Path("runs/x/config.resolved.yaml").write_text(load("problems/x.yaml").resolved)
    call("resume", "x")
    Path("runs/x/parent").mkdir()
    call("resume", "x", "--force")
    assert seen == [(False, False), (True, True)]


def test_a_place_that_cannot_be_written_is_one_line() -> None:
    Path("runs").write_text("a file")
    result = call("run", "problems/x.yaml", "--retrain", "--set", "parent.train.steps=1")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].startswith("error: runs")
    assert "Traceback" not in result.stderr


# ---- commands that compute


def test_check_says_what_is_broken() -> None:
    Path("my.py").write_text("from evoens import Strategy\nclass Mine(Strategy):\n    pass\n")
    result = call("check", "my.py:Mine")
    assert result.exit_code == 1
    assert result.stdout.startswith("BROKEN  imports: ")
    found = json.loads(call("check", "my.py:Mine", "--json").stdout)
    assert [row["ok"] for row in found] == [False]
    wrong = call("check", "mine.py:Mine")
    assert wrong.exit_code == 2 and 'error: "mine.py:Mine": expected a Python file, found none at' in wrong.stderr


def test_verify_checks_the_published_vectors() -> None:
    found = json.loads(call("verify", "--json").stdout)
    assert found
    assert all(row["ok"] for row in found)


def test_bench_prints_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    class Bench:
        @staticmethod
        def measure() -> dict[str, float]:
            return {"speedup_vs_randn": 3.5}

        @staticmethod
        def describe(found: dict[str, float]) -> str:
            return f"{found['speedup_vs_randn']} ×"

    monkeypatch.setattr("evoens.cli.importlib.import_module", lambda name: Bench)
    assert json.loads(call("bench", "noise", "--json").stdout) == {"speedup_vs_randn": 3.5}
    assert call("bench", "noise").stdout == "3.5 ×\n"


TINY = [
    "parent.train.steps=64", "parent.train.envs=2", "parent.train.rollout=16", "parent.train.minibatches=1",
    "parent.train.epochs=1", "parent.train.network=[4,4,4]",
]  # fmt: skip


def test_train_parent_stops_goes_on_and_leaves_a_parent_that_validates(monkeypatch: pytest.MonkeyPatch) -> None:
    for path in Path("problems").glob("parent.*"):
        path.unlink()
    args = ["problems/x.yaml", *(word for text in TINY for word in ("--set", text))]
    command = [sys.executable, "-m", "evoens", "train-parent", *args, "--set", "parent.train.steps=1000000"]
    stopped = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (background jobs ignore it)
    )
    while not list(Path("runs").glob("x-parent/checkpoints/0*")):
        assert stopped.poll() is None, stopped.communicate()[1]
        time.sleep(0.05)
    stopped.send_signal(signal.SIGINT)
    _, said = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, said
    assert "go on with:\n  python -m evoens train-parent problems/x.yaml" in said
    assert not Path("problems/parent.safetensors").exists()
    monkeypatch.setattr(sys, "argv", ["evoens", "train-parent", *args])
    result = call("train-parent", *args, "--json")
    assert result.exit_code == 0, result.stderr
    card = json.loads(result.stdout)
    assert card["path"] == "problems/parent.safetensors"
    assert card["command"].startswith("python -m evoens train-parent problems/x.yaml --set parent.train.steps=64")
    assert call("validate", *args).exit_code == 0
    assert "as the parent" in call("validate", "problems/x.yaml").stderr
