"""What a run says while it runs: a live panel in a terminal, plain lines elsewhere, and the table at its end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from evoens.screen import Screen

if TYPE_CHECKING:
    from evoens.progress import Progress as Training
    from evoens.tracker import Generation

COMPETITORS = ("parent", "best_child", "random_children", "ensemble")
KL_PARENT, KL_MEMBERS = "KL from the parent", "KL between members"
WIDE = 100  # columns from which the panel shows all there is
ENDLESS = 400  # columns of a file
LONG = 60.0  # seconds after which a child that is still being measured is named
PAUSE = 10.0  # seconds between two plain lines of progress


class Reporter:
    """Tells the user what a run does: `with Reporter() as reporter: ...` shows a live panel where there is a terminal.

    Outside of a `with`, or where the output is no terminal, each event is one plain line.

    Args:
        quiet: say nothing but warnings.
        console: where to; standard output when not given.

    Attributes:
        digits: decimals of a score; the run says how many its problem's have.
        measuring: the children that are being measured, and since when by `time.monotonic`; the run keeps it.
    """

    def __init__(self, quiet: bool = False, console: Console | None = None) -> None:
        self.quiet, self.digits = quiet, 2
        self.measuring: Mapping[str, float] = {}
        self.console = console or Screen()
        if not self.console.is_terminal:
            self.console.width = max(self.console.width, ENDLESS)
        self._live: Live | None = None
        self._bar = Progress(
            SpinnerColumn(),
            BarColumn(None),
            TextColumn("{task.fields[state]}", markup=False),
            console=self.console,
            expand=True,
            speed_estimate_period=600,  # an evaluation can take a minute
        )
        self._task = self._bar.add_task("", total=None, state="")
        self._stage = ""
        self._generations: list[Generation] = []
        self._said = 0.0
        self._warned: set[str] = set()

    def __enter__(self) -> Self:
        if self.console.is_terminal and not self.quiet:
            self._live = Live(console=self.console, get_renderable=self._panel, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    def stage(self, text: str) -> None:
        """A new stage of the run begins."""
        self._stage = text
        self._bar.reset(self._task, total=None, description=text, state="")
        self._line(text)

    def progress(self, done: int, total: int, text: str) -> None:
        """`done` of `total` steps called `text` are done, within the stage."""
        self._advance(done, total, f"{self._stage}: {text}" if self._stage else text)
        left = self._bar.tasks[0].time_remaining
        state = f"{done}/{total}" + (f", {duration(left)} left" if left else "")
        self._state(state, done < total)

    def preparation(self, done: int, total: int) -> None:
        """`done` of `total` images are decoded."""
        self.progress(done, total, "decoding images")

    def training(self, progress: Training) -> None:
        """The parent's training has come this far."""
        self._advance(progress.steps, progress.total, "training the parent")
        self._state(
            f"{progress.steps:,} of {progress.total:,} steps, {progress.steps_per_second:.0f} steps/s, "
            f"{f'{progress.reached}, ' if progress.reached else ''}{duration(progress.seconds_left)} left",
            progress.steps < progress.total,
        )

    def generation(self, summary: Generation) -> None:
        """A generation is complete."""
        self._generations.append(summary)
        cells = (f"{head} {text}" for head, text, _ in _cells(summary, self.digits))
        self._line(f"generation {summary.generation + 1}: " + ", ".join(cells))

    def layers(self, found: Mapping[str, Any]) -> None:
        """Show what the search for a scope has tried, as history.json holds it."""
        if not self.quiet:
            table = _table("each layer alone, on the search split", *tried(found))
            table.caption, table.caption_justify = f"children touch {', '.join(found['chosen'])}", "left"
            self.console.print(table)

    def warn(self, text: str) -> None:
        """Say once what the user should know; on standard error where there is no live panel."""
        if text in self._warned:
            return
        self._warned.add(text)
        where = self.console if self._live else Screen(stderr=True)
        where.print(Text("warning: ", "yellow").append(text, "default"), soft_wrap=self._live is None)

    def table(self, report: Mapping[str, Any]) -> None:
        """Show the comparison and the verdict of a finished run, from its report.json."""
        self._leave()
        if not self.quiet:
            table = _results(report, " ")
            wanted = self.console.measure(table, options=self.console.options.update(width=ENDLESS)).maximum
            fits = wanted <= self.console.width
            self.console.print(table if fits else _results(report, "\n"))
            self.console.print(Text(report["verdict"], "bold"), soft_wrap=not self.console.is_terminal)
            self.console.print()

    def next_commands(self, commands: Sequence[str]) -> None:
        """Say what can be tried next."""
        if not self.quiet:
            self.console.print(Text("Next:"))
            for command in commands:
                self.console.print(Text(f"  {command}", "cyan"), soft_wrap=True)

    def _advance(self, done: int, total: int, text: str) -> None:
        task = self._bar.tasks[0]
        if (task.description, task.total) != (text, total) or done < task.completed:
            self._bar.reset(self._task, total=total, completed=done, description=text)
        else:
            self._bar.update(self._task, completed=done)

    def _state(self, state: str, unfinished: bool) -> None:
        self._bar.update(self._task, state=state)
        if unfinished and time.monotonic() - self._said >= PAUSE:
            self._line(f"{self._bar.tasks[0].description}: {state}")

    def _line(self, text: str) -> None:
        self._said = time.monotonic()
        if self._live is None and not self.quiet:
            self.console.print(Text(text), soft_wrap=True)

    def _leave(self) -> None:
        if self._live is not None:
            self._stage = ""
            self._bar.update(self._task, visible=False)
            live, self._live = self._live, None
            live.stop()

    def _long(self) -> list[tuple[str, float]]:
        """Return who has been measured for long, and for how many seconds."""
        now = time.monotonic()
        long = {key: now - since for key, since in dict(self.measuring).items() if now - since >= LONG}
        return [(f"child {key[:12]}" if key.isalnum() else key, age) for key, age in long.items()]

    def _panel(self) -> RenderableType:
        rows = self._generations[-max(3, self.console.height - 8) :]
        parts: list[RenderableType] = [_evolution(rows, self.console.width >= WIDE, self.digits), ""] if rows else []
        if self._bar.tasks[0].visible:
            parts += [Text(self._bar.tasks[0].description), self._bar.get_renderable()]
        parts += [Text(f"{who} has been measured for {duration(age)}", "yellow") for who, age in self._long()]
        return Group(*parts)


def _cells(g: Generation, digits: int) -> list[tuple[str, str, bool]]:
    """Head, text, and whether a narrow table leaves it out, for each number of a generation."""
    kl = g.diversity["kl"]
    return [
        *((name, number(g.fitness[name], digits), False) for name in ("best", "mean", "worst", "parent")),
        ("ensemble", number(g.ensemble, digits), True),
        *([] if g.sigma is None else [("σ", f"{g.sigma:.3g}", False)]),
        ("reliab.", number(g.reliability), False),
        (KL_MEMBERS, f"{kl['value']:.2g}", False),
        ("floor", f"{kl['floor']:.1g}", False),
        ("samples/s", f"{g.samples_per_second:.0f}", False),
        ("time", duration(g.seconds), True),
    ]


def _evolution(generations: Sequence[Generation], wide: bool, digits: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("gen", justify="right", no_wrap=True)
    for head, _, optional in _cells(generations[0], digits):
        if wide or not optional:
            table.add_column(head.replace(" ", "\n"), justify="right", no_wrap=True)
    for g in generations:
        table.add_row(str(g.generation + 1), *(text for _, text, optional in _cells(g, digits) if wide or not optional))
    return table


def comparison(report: Mapping[str, Any], between: str = " ") -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of a report's comparison, as text: the run's own rule first, with the difference.

    Args:
        report: as report.json holds it.
        between: what stands between a score and its interval.
    """
    own, *beside = report["measures"]
    head = ["", own["label"], "less the parent's", *(measure["label"] for measure in beside), "cases"]
    rows = []
    for name in COMPETITORS:
        block = report[name]
        score, *others = (interval(block[m["key"]], m["digits"], between=between) for m in report["measures"])
        less = interval(block["test_difference"], own["digits"], "+", between) if name != "parent" else ""
        rows.append([named(name, block), score, less, *others, str(block["test"]["n"])])
    return head, rows


def named(name: str, block: Mapping[str, Any]) -> str:
    """Return who a competitor of the report is, in words."""
    if name not in ("random_children", "ensemble"):
        return name.replace("_", " ")
    size, beside = (block["size"] - 1, " and the parent") if block.get("parent") else (block["size"], "")
    drawn = "1 random child" if size == 1 else f"{size} random children"
    return (f"ensemble of {size}" if name == "ensemble" else drawn) + beside


def measured(report: Mapping[str, Any]) -> str:
    """Return what stands over the comparison: what was measured, on which cases, and whether these are unseen."""
    seen = f", but {unsure}" if (unsure := report.get("unsure")) else ""
    return f"{report['unit']} on cases that neither search nor selection saw{seen} [95 % interval]"


def _table(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold", title_justify="left")
    for place, text in enumerate(head):
        table.add_column(text, justify="right" if place else "left")
    for row in rows:
        table.add_row(*row)
    return table


def _results(report: Mapping[str, Any], between: str) -> Table:
    head, rows = comparison(report, between)
    table = _table(measured(report), head, [])
    for name, row in zip(COMPETITORS, rows, strict=True):
        table.add_row(*row, style="bold" if name == "ensemble" else "")
    return table


def tried(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return the head and the rows of what the search for a scope has tried, as text; the parent's row comes first."""
    head = ["", "σ", f"{KL_PARENT}, nats", found["unit"], "less the parent's", "± standard error"]
    rows = [["nothing: the parent", "", "", number(found["parent"], 4), "", ""]]
    for row in found["rows"]:
        if row["worth"] is None:
            rows.append([row["layer"], "", "", row["error"], "", ""])
            continue
        where = [row["layer"], f"{row['sigma']:g}", f"{row['kl']:.3g}"]
        less = [number(row["difference"], 4, "+"), number(row["standard_error"], 4)]
        rows.append([*where, number(row["worth"], 4), *less])
    return head, rows


def number(value: float | None, digits: int = 2, sign: str = "") -> str:
    """Return a score with its decimals and a true minus, or a dash; a `sign` of "+" is shown, but for zero."""
    if value is None:
        return "–"
    text = f"{value:{sign}.{digits}f}"
    return text.replace("-", "−") if float(text) else text.lstrip("+-")


def interval(stats: Mapping[str, Any], digits: int = 2, sign: str = "", between: str = " ") -> str:
    """Return a score with its 95 % interval."""
    low, high = (number(end, digits, sign) for end in stats["ci95"])
    return f"{number(stats['score'], digits, sign)}{between}[{low}, {high}]"


def duration(seconds: float) -> str:
    """Return a length of time in the unit one would say it in: `42 s`, `12 min`, `3 h 05 min`."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02} min"
