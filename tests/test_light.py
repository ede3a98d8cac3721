"""Light by parts: nobody waits for, or needs, what only another part uses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("procgen", "stable_baselines3", "captum", "matplotlib.pyplot", "evotorch", "ray")
GAMES = ("procgen", "gym3", "stable_baselines3")
EVOTORCH = ("evotorch", "ray")
DIGITS = [
    "run",
    "digits_noisy",
    *(
        f"--set={text}"
        for text in (
            "search.population=4",
            "search.generations=1",
            "selection.size=2",
            "trust_region.grid=[0.02, 0.06]",
            "trust_region.frames=16",
            "problem.splits.search.count=40",
            "problem.splits.select.count=40",
            "report.bootstrap=100",
        )
    ),
]
RUN = "from evoens.cli import main\ntry:\n    main({arguments})\nexcept SystemExit as end:\n    code = end.code\n"


def python(source: str, *blocked: str) -> subprocess.CompletedProcess[str]:
    """A fresh process, in which some packages are as if they were not there."""
    block = f"import sys\nsys.modules |= dict.fromkeys({blocked})\n"
    return subprocess.run([sys.executable, "-c", block + source], capture_output=True, text=True, check=False)


def loaded(source: str, names: tuple[str, ...], *blocked: str) -> list[str]:
    """Which modules of these names a fresh process has loaded when it has run `source`."""
    done = python(f"{source}\nprint('loaded', *[n for n in {names} if sys.modules.get(n)])", *blocked)
    assert not done.returncode, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


def test_importing_evoens_loads_no_part_of_it() -> None:
    public = "import evoens, evoens.problem, evoens.ensemble, evoens.tasks.task"
    assert loaded(public, HEAVY) == []
    assert loaded(f"{public}, captum", HEAVY) == ["captum", "matplotlib.pyplot"]  # the test sees them


def test_a_run_on_digits_loads_no_game_and_no_search_that_it_has_not_asked_for(tmp_path: Path) -> None:
    assert loaded(RUN.format(arguments=[*DIGITS, f"--runs={tmp_path}", "--quiet"]), (*GAMES, *EVOTORCH)) == []
    assert (tmp_path / "digits_noisy" / "report.html").is_file()


@pytest.mark.parametrize("command", [["validate"], ["run", "--retrain"], ["train-parent", "--retrain"]], ids=str)
def test_without_procgen_its_yaml_says_in_one_line_what_is_missing(command: list[str], tmp_path: Path) -> None:
    name, *flags = command
    where = [] if name == "validate" else [f"--runs={tmp_path}"]
    source = RUN.format(arguments=[name, "procgen_bigfish", *flags, *where])
    done = python(f"{source}\nsys.exit(code)", "procgen")
    assert done.returncode == 2 and not list(tmp_path.iterdir())
    (line,) = done.stderr.strip().splitlines()
    assert "problem.game: expected the package procgen, found none" in line


def test_a_search_of_evotorchs_is_checked_without_it() -> None:
    source = RUN.format(arguments=["run", "digits_noisy", "--dry-run", "--set=search.by=cma-es", "--quiet"])
    assert loaded(f"{source}\nassert not code", EVOTORCH) == []


def test_an_archive_is_checked_without_pyribs_being_loaded_and_its_absence_is_said_in_one_line() -> None:
    source = RUN.format(arguments=["run", "digits_noisy", "--dry-run", "--set=search.by=map-elites", "--quiet"])
    assert loaded(f"{source}\nassert not code", ("ribs", *EVOTORCH)) == []
    done = python(f"{source}\nsys.exit(code)", "ribs")
    (line,) = done.stderr.strip().splitlines()
    assert done.returncode == 2 and "search.by=map-elites: expected the package ribs" in line
    assert "pip install 'evoens[qd]'" in line


def test_what_plays_without_procgen_says_so_too() -> None:
    source = (
        "from evoens.errors import ProblemError\n"
        "try:\n    import evoens.tasks.procgen\nexcept ProblemError as error:\n    print(error)"
    )
    assert python(source, "procgen").stdout.startswith("expected the package procgen, found none")
