from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from rich.console import Console
from sample_run import MEASURES

from evoens.report.console import PAUSE, Reporter
from evoens.report.tables import comparison
from evoens.scoring.text import number

LONG = "the ranking is [mostly] chance; more levels or a larger σ would tell the children of a generation apart"


def summary(n: int = 0, reliability: float | None = 0.41) -> SimpleNamespace:
    return SimpleNamespace(
        generation=n,
        sigma=0.0183,
        fitness={"best": 112.34, "mean": 110.1, "worst": 107.0, "parent": 110.9},
        ensemble=111.5,
        reliability=reliability,
        diversity={"kl": {"value": 0.0212, "floor": 0.000024}},
        failed=0,
        evaluations=17,
        samples_per_second=15321.4,
        seconds=61.5,
    )


def block(score: float, n: int = 100, **more: object) -> dict[str, object]:
    def stats(value: float) -> dict[str, object]:
        return {"score": value, "ci95": [value - 1.5, value + 1.5], "n": n}

    rules = {
        "test": score,
        "test_difference": score - 11,
        "test_greedy": score + 1,
        "test_greedy_difference": score - 12,
    }
    return {name: stats(value) for name, value in rules.items()} | more


REPORT = {
    "problem": {"action": "sampled"},
    "unit": "episode return",
    "measures": MEASURES,
    "parent": block(11.0),
    "best_child": block(11.9),
    "random_children": block(10.5, size=8, parent=False),
    "ensemble": block(13.1, size=8, parent=False),
    "verdict": "The ensemble of [8] beats the parent.",
}


def plain(width: int = 80) -> tuple[Reporter, io.StringIO]:
    out = io.StringIO()
    return Reporter(console=Console(file=out, width=width, highlight=False)), out


def terminal(width: int, height: int = 40) -> tuple[Reporter, io.StringIO]:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=True, color_system=None, highlight=False)
    return Reporter(console=console), out


def run(reporter: Reporter) -> None:
    with reporter:
        reporter.on_stage("generation 1 of 2")
        reporter.on_progress(3, 16, "children")
        reporter.on_warning(LONG)
        for n in range(2):
            reporter.generation(summary(n))  # type: ignore[arg-type]
        reporter.table(REPORT)
        reporter.next_commands(["python -m evoens play runs/[name]"])


def test_without_a_terminal_each_event_is_one_line_without_codes(capsys: pytest.CaptureFixture[str]) -> None:
    reporter, out = plain()
    run(reporter)
    lines = out.getvalue().splitlines()
    assert lines[0] == "generation 1 of 2"
    assert lines[1] == (
        "generation 1: best 112.34, mean 110.10, worst 107.00, parent 110.90, ensemble 111.50, σ 0.0183, reliab. 0.41, "
        "KL between members 0.021, floor 2e-05, samples/s 15321, time 62 s"
    )
    assert "  python -m evoens play runs/[name]" in lines and REPORT["verdict"] in lines
    assert "\x1b" not in out.getvalue()
    assert capsys.readouterr().err == f"warning: {LONG}\n"


def test_quiet_says_nothing_but_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    out = io.StringIO()
    run(Reporter(quiet=True, console=Console(file=out, force_terminal=True)))
    assert out.getvalue() == ""
    assert capsys.readouterr().err == f"warning: {LONG}\n"


@pytest.mark.parametrize("width", [80, 100, 120])
def test_a_terminal_shows_whole_tables_at_its_width(width: int) -> None:
    reporter, out = terminal(width)
    run(reporter)
    last = re.sub(r"\x1b\[[?0-9;]*[A-Za-z]", "", out.getvalue().rsplit("\x1b[2K", 1)[-1])  # from the last redraw on
    assert "…" not in last and max(map(len, last.splitlines())) <= width
    for expected in (
        "112.34",
        "reliab.",
        "15321",
        "13.10",
        "[11.60, 14.60]",
        "[+0.60, +3.60]",
        "ensemble of 8",
        "beats",
    ):
        assert expected in last
    assert "warning: the ranking is [mostly] chance" in out.getvalue()


@pytest.mark.parametrize(("width", "one_line"), [(80, False), (120, True)])
def test_an_interval_goes_below_its_score_where_the_table_would_not_fit(width: int, one_line: bool) -> None:
    reporter, out = terminal(width)
    reporter.table(REPORT)
    assert ("13.10 [11.60, 14.60]" in out.getvalue()) == one_line and "[11.60, 14.60]" in out.getvalue()


def test_the_panel_ends_with_the_run_even_when_it_fails() -> None:
    reporter, out = terminal(80)
    with pytest.raises(ValueError, match="no"), reporter:
        reporter.on_stage("generation 1 of 2")
        raise ValueError("no")
    assert out.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is shown again


def test_a_low_terminal_keeps_the_latest_generations() -> None:
    reporter, out = terminal(80, height=12)
    with reporter:
        for n in range(30):
            reporter.generation(summary(n))  # type: ignore[arg-type]
    last = [line.split()[0] for line in out.getvalue().splitlines() if "112.34" in line][-4:]
    assert last == ["27", "28", "29", "30"]


def test_progress_is_said_now_and_then_with_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    reporter, out = plain()
    reporter._bar.get_time = lambda: now[0]
    reporter.on_stage("generation 1 of 2")
    for done in range(17):
        reporter.on_progress(done, 16, "children")
        now[0] += PAUSE / 2
    lines = out.getvalue().splitlines()
    assert lines[1:3] == [
        "generation 1 of 2: children: 2/16, 70 s left",
        "generation 1 of 2: children: 4/16, 60 s left",
    ]
    assert len(lines) == 1 + 7


def test_training_tells_steps_speed_return_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    reporter, out = plain()
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    reporter.on_training(
        SimpleNamespace(
            steps=1_310_720, total=8_000_000, steps_per_second=652.3, seconds_left=10_260.0, reached="return 1.23"
        )
    )  # type: ignore[arg-type]
    monkeypatch.setattr(time, "monotonic", lambda: 2000.0)
    reporter.on_training(
        SimpleNamespace(steps=1_327_104, total=8_000_000, steps_per_second=650.0, seconds_left=60.0, reached="")
    )  # type: ignore[arg-type]
    assert out.getvalue().splitlines() == [
        "training: 1,310,720 of 8,000,000 steps, 652 steps/s, return 1.23, 2 h 51 min left",
        "training: 1,327,104 of 8,000,000 steps, 650 steps/s, 60 s left",
    ]


def test_comparison_in_cells() -> None:
    head, rows = comparison(REPORT)
    assert head == ["", "sampled actions", "less the parent's", "greedy actions", "cases"]
    assert rows[0] == ["parent", "11.00 [9.50, 12.50]", "", "12.00 [10.50, 13.50]", "100"]
    assert rows[2] == [
        "8 random children",
        "10.50 [9.00, 12.00]",
        "−0.50 [−2.00, +1.00]",
        "11.50 [10.00, 13.00]",
        "100",
    ]


def test_a_parent_that_votes_is_named() -> None:
    with_parent = {name: block(10.5, size=9, parent=True) for name in ("random_children", "ensemble")}
    _, rows = comparison({**REPORT, **with_parent})
    assert [row[0] for row in rows[2:]] == ["8 random children and the parent", "ensemble of 8 and the parent"]


def test_what_is_not_known_is_a_dash() -> None:
    reporter, out = plain()
    reporter.generation(summary(reliability=None))  # type: ignore[arg-type]
    assert "reliab. –," in out.getvalue() and "σ 0.0183" in out.getvalue()
    assert number(-1.005) == "−1.00" and number(2, sign="+") == "+2.00"


def test_the_console_does_not_wait_for_torch() -> None:
    code = (
        "import sys, evoens.report.console; sys.exit(any(m in sys.modules for m in ('torch', 'matplotlib', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


SCOPE = {
    "unit": "accuracy",
    "parent": 0.7,
    "rows": [
        {"layer": "fc1.weight", "sigma": 0.05, "kl": 0.02, "worth": 0.725, "difference": 0.025, "standard_error": 0.01},
        {"layer": "fc2.weight", "sigma": None, "kl": None, "worth": None, "error": "no such child"},
    ],
    "chosen": ["fc1.weight"],
}


@pytest.mark.parametrize("make", [plain, terminal])
def test_what_the_search_for_a_scope_tried_is_shown(make: Callable[[int], tuple[Reporter, io.StringIO]]) -> None:
    reporter, out = make(120)
    with reporter:
        reporter.on_scope(SCOPE)
    text = " ".join(out.getvalue().split())
    assert "fc1.weight 0.05 0.02 0.7250 +0.0250 0.0100" in text and "fc2.weight no such child" in text
    assert "nothing: the parent 0.7000" in text and "fc1.weight" in text.rpartition("children touch")[2]
    silent = Reporter(quiet=True, console=Console(file=(quiet := io.StringIO())))
    silent.on_scope(SCOPE)
    assert quiet.getvalue() == ""
