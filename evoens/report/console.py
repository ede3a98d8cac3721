"""What a run says while it runs: a live panel in a terminal, plain lines elsewhere, and the table at its end."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn
from rich.table import Table
from rich.text import Text
from typing_extensions import Self

from evoens.diversity.measures import MEASURES
from evoens.listener import GenerationEnd, Listener, RunEnd, Start
from evoens.machine.screen import Screen
from evoens.progress import Generation
from evoens.progress import Progress as Training
from evoens.report.tables import comparison, competitors, measured, tried
from evoens.scoring.text import duration, number

WIDE = 100  # columns from which the panel shows all there is
ENDLESS = 400  # columns of a file
LONG = 60.0  # seconds after which a child that is still being measured is named
PAUSE = 10.0  # seconds between two plain lines of progress


class Reporter(Listener):
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

    def on_start(self, event: Start) -> None:
        """See `Listener`."""
        self.digits, self.measuring = event.problem.measures[0].digits, event.measuring

    def on_stage(self, text: str) -> None:
        """A new stage of the run begins."""
        self._stage = text
        self._bar.reset(self._task, total=None, description=text, state="")
        self._line(text)

    def on_progress(self, done: int, total: int, text: str) -> None:
        """`done` of `total` steps called `text` are done, within the stage."""
        self._advance(done, total, f"{self._stage}: {text}" if self._stage else text)
        left = self._bar.tasks[0].time_remaining
        state = f"{done}/{total}" + (f", {duration(left)} left" if left else "")
        self._state(state, done < total)

    def preparation(self, done: int, total: int) -> None:
        """`done` of `total` images are decoded."""
        self.on_progress(done, total, "decoding images")

    def on_training(self, progress: Training) -> None:
        """A training has come this far."""
        self._advance(progress.steps, progress.total, "training")
        self._state(
            f"{progress.steps:,} of {progress.total:,} steps, {progress.steps_per_second:.0f} steps/s, "
            f"{f'{progress.reached}, ' if progress.reached else ''}{duration(progress.seconds_left)} left",
            progress.steps < progress.total,
        )

    def on_generation(self, event: GenerationEnd) -> None:
        """See `Listener`."""
        self.generation(event.summary)

    def on_report(self, event: RunEnd) -> None:
        """See `Listener`."""
        self.table(event.report)
        self.next_commands(_next(event.folder))

    def generation(self, summary: Generation) -> None:
        """A generation is complete."""
        self._generations.append(summary)
        cells = (f"{head} {text}" for head, text, _ in _cells(summary, self.digits))
        self._line(f"generation {summary.generation + 1}: " + ", ".join(cells))

    def on_scope(self, found: Mapping[str, Any]) -> None:
        """Show what the search for a scope has tried, as history.json holds it."""
        if not self.quiet:
            table = _table("each layer alone, on the search split", *tried(found))
            table.caption, table.caption_justify = f"children touch {', '.join(found['chosen'])}", "left"
            self.console.print(table)

    def on_warning(self, text: str) -> None:
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

    def rows(self, title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Show a table."""
        self._leave()
        if not self.quiet:
            self.console.print(_table(title, head, rows))

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


def _next(folder: Path) -> list[str]:
    film = [f"python -m evoens play {folder}"] if (folder / "pictures" / "ensemble.gif").is_file() else []
    return [
        f"tensorboard --logdir {folder / 'tb'}  # then http://localhost:6006/#custom_scalars&_smoothingWeight=0",
        *film,
        f"python -m evoens diversity {folder}",
        f"python -m evoens verify {folder}",
        f"python -m evoens inspect {folder}",
        f"open {folder / 'report.html'} in a browser",
    ]


def _cells(g: Generation, digits: int) -> list[tuple[str, str, bool]]:
    """Head, text, and whether a narrow table leaves it out, for each number of a generation."""
    kl = g.diversity.get("kl")  # none, where whoever watches diversity has failed
    return [
        *((name, number(g.fitness[name], digits), False) for name in ("best", "mean", "worst", "parent")),
        ("ensemble", number(g.ensemble, digits), True),
        *([] if g.sigma is None else [("σ", f"{g.sigma:.3g}", False)]),
        ("reliab.", number(g.reliability), False),
        *([(MEASURES["kl"].title, f"{kl['value']:.2g}", False), ("floor", f"{kl['floor']:.1g}", False)] if kl else []),
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
    for name, row in zip(competitors(report), rows, strict=True):
        table.add_row(*row, style="bold" if name == "ensemble" else "")
    return table
