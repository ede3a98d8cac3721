"""Who is being measured when the process dies, against processes that do die."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from fresh import ENVIRONMENT
from rich.console import Console
from tiny_run import config, execute

from evoens.errors import ProblemError
from evoens.report import console, listeners
from evoens.report.console import Reporter
from evoens.storage.measuring import Measuring


def test_who_began_and_did_not_end_is_suspect_and_fatal_if_alone_twice(
    tmp_path: Path,
) -> None:
    path = tmp_path / "measuring"
    first = Measuring(path)
    for key in ("a", "b", "c"):
        first.begin(key)
    first.end("b")  # the process dies here: of `first` nothing is closed
    second = Measuring(path)
    assert [second.suspect(key) for key in "abc"] == [True, False, True] and not second.fatal("a")
    second.begin("a")
    second.end("a")  # it was not `a`
    second.begin("c")
    third = Measuring(path)
    assert [third.suspect(key) for key in "abc"] == [False, False, True] and not third.fatal("c")
    third.begin("c")
    fourth = Measuring(path)
    assert [fourth.fatal(key) for key in "abc"] == [False, False, True]
    fifth = Measuring(path)
    assert fifth.fatal("c")  # wherever the process died this time
    fifth.begin("c")
    fifth.end("c")
    assert not Measuring(path).suspect("c")


def test_who_is_never_alone_is_never_fatal(tmp_path: Path) -> None:
    path = tmp_path / "measuring"
    for _ in range(4):
        ours = Measuring(path)
        ours.begin("a")
        ours.begin("b")
    last = Measuring(path)
    assert [(last.suspect(key), last.fatal(key)) for key in "abc"] == [(True, False), (True, False), (False, False)]


def test_an_end_in_order_accuses_nobody_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "measuring"
    ours = Measuring(path)
    for place in range(1000):
        ours.begin(str(place))
        ours.end(str(place))
    assert path.stat().st_size == 0
    ours.begin("a")
    ours.close()
    assert not path.exists() and not Measuring(path).suspect("a")


def test_half_a_line_and_other_rubbish_accuse_nobody(tmp_path: Path) -> None:
    path = tmp_path / "measuring"
    path.write_bytes(b"+a\n\xff\xfe\n-a\nwhat\n!\n+b")
    ours = Measuring(path)
    assert not any(ours.suspect(key) for key in ("a", "b", "what"))


DIES = """
import os
from evoens_strategies.noisy import Noisy

class Dies(Noisy):
    def perturb(self, name, weight, gene):
        if (gene.seed, gene.sign, gene.mask.part) == {gene}:
            {how}
        return super().perturb(name, weight, gene)
"""
RUN = """
import json
import os
import sys
from pathlib import Path
from tiny_run import config, execute
from evoens.report import listeners
listeners.write_report = lambda folder: folder / "report.html"
sections = json.loads(os.environ.get("SETTINGS", "{}"))
execute(Path(sys.argv[1]), config(search={"generations": 1, "elites": 0}, **sections), spec=sys.argv[2])
"""


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "population.jsonl").read_text().splitlines()]


def in_a_process(folder: Path, spec: str, more: Mapping[str, str] = MappingProxyType({})) -> int:
    environment = {**ENVIRONMENT, **more, "OMP_NUM_THREADS": "2"}
    command = [sys.executable, "-c", RUN, str(folder), spec]
    return subprocess.run(command, env=environment, check=False, capture_output=True).returncode


@pytest.mark.parametrize(
    ("how", "code"),
    [("os._exit(7)", 7), pytest.param("os.kill(os.getpid(), 9)", -9, marks=pytest.mark.slow)],
)
def test_a_child_in_which_the_process_died_twice_has_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, code: int
) -> None:
    """And it alone."""
    monkeypatch.setattr(listeners, "write_report", lambda folder: folder / "report.html")
    settings = config(search={"generations": 1, "elites": 0})
    execute(tmp_path / "whole", settings)
    whole = rows_of(tmp_path / "whole")
    (gene,) = whole[1]["genome"]
    path = tmp_path / "dies.py"
    path.write_text(DIES.format(gene=(gene["seed"], gene["sign"], gene["mask"]["part"]), how=how))
    folder, spec = tmp_path / "run", f"{path}:Dies"
    assert [in_a_process(folder, spec) for _ in range(3)] == [code, code, 0]
    found = rows_of(folder)
    assert [row["status"] for row in found] == ["ok", "failed", *["ok"] * 4]
    assert [row["fitness"] for row in found if row["status"] == "ok"] == [
        row["fitness"] for row in whole if row["key"] != whole[1]["key"]
    ]
    warnings = json.loads((folder / "history.json").read_text())["warnings"]
    assert any("the process died 2 times while this child was measured" in text for text in warnings)


FATAL_SIGMA = """
import os
from evoens_strategies.noisy import Noisy

class Fatal(Noisy):
    def perturb(self, name, weight, gene):
        if name == "first.weight" and gene.scale == 0.2:
            os._exit(7)
        return super().perturb(name, weight, gene)
"""


def test_a_layer_in_whose_search_for_sigma_the_process_died_twice_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "fatal.py"
    path.write_text(FATAL_SIGMA)
    own = {"SETTINGS": json.dumps({"strategy": {"sigma": "auto", "scope": "auto"}})}
    assert [in_a_process(tmp_path / "run", f"{path}:Fatal", own) for _ in range(3)] == [7, 7, 0]
    found = json.loads((tmp_path / "run" / "history.json").read_text())["scope"]
    errors = {row["layer"]: row.get("error") for row in found["rows"]}
    why = "the process died 2 times while σ 0.2 of first.weight was measured"
    assert errors == {"first.weight": why, "last.weight": None} and found["chosen"] == ["last.weight"]


def test_a_sigma_in_which_the_process_died_twice_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "measuring.txt").write_text("!σ 0.2\n+σ 0.2\n")
    settings = config(strategy={"sigma": "auto"})
    with pytest.raises(ProblemError, match=r"^the process died 2 times while σ 0\.2 was measured"):
        execute(tmp_path, settings)
    with pytest.raises(ProblemError, match=r"^the process died 2 times while σ 0\.2 was measured"):
        execute(tmp_path, settings)  # nor does it go on the next time


def test_the_panel_names_a_child_that_runs_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console.time, "monotonic", lambda: 1000.0)
    reporter = Reporter(console=Console(width=80, force_terminal=True))
    reporter.measuring = {"3f2a" * 16: 880.0, "77" * 32: 999.0, "σ 0.2 of last.weight": 820.0}
    with reporter.console.capture() as said:
        reporter.console.print(reporter._panel())
    assert "child 3f2a3f2a3f2a has been measured for 2 min" in said.get() and "7777" not in said.get()
    assert "mσ 0.2 of last.weight has been measured for 3 min" in said.get()
