"""TensorBoard: the curves, pictures and results of a run, on a page that reads well when it opens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from evoens.diversity.measures import watched
from evoens.errors import visible
from evoens.listener import GenerationEnd, Listener, RunEnd, Start
from evoens.progress import Generation
from evoens.report import figures
from evoens.report.lineage import lineage
from evoens.report.tables import KL_PARENT, comparison, competitors, measured

LINES = ("best", "mean", "worst", "parent", "ensemble", "floor")  # with the log itself as many as there are colours
BETWEEN = "between runs"  # of all groups the first in the alphabet
_MARKS = re.compile(r"[\\`*_|#]|\](?=\()")
CHILDREN, ENSEMBLE = "fitness/children and parent", "fitness/ensemble and parent"


class Tracker:
    """Writes a run's TensorBoard log to `folder/tb`; a step is a generation, the first is 1.

    With few generations untick "Ignore outliers in chart scaling" there: it leaves out the highest and lowest value.

    Curves that share a chart are runs of their own there, `tb/best`, `tb/floor` and so on: TensorBoard gives a colour
    and a name to a run, and to nothing else. To tell several runs apart the log itself has scores by themselves too, a
    chart each, on the page that opens first: TensorBoard always shows a chart's one curve, from its first point on.

    Args:
        folder: the run's folder.
        first: the generation that comes next; what an interrupted run wrote from there on is hidden.
        scaled: whether there is a σ to show.
    """

    def __init__(self, folder: Path, first: int = 0, scaled: bool = True) -> None:
        self._writer = SummaryWriter(folder / "tb", purge_step=first + bool(first))
        self._lines = {name: SummaryWriter(folder / "tb" / name, purge_step=first + bool(first)) for name in LINES}
        self._writer.add_custom_scalars(_layout(scaled))

    def trust_region(self, found: Mapping[str, Any]) -> None:
        """Show the search for σ: `{target_kl, sigma, rows: [{sigma, kl, kl_range, agreement}]}`, as in history.json."""
        self._writer.add_figure("trust region/KL over σ", figures.trust_region(found), 0)
        head = ["σ", f"{KL_PARENT}, nats", "smallest", "largest", "same answer"]
        rows = [
            [f"{r['sigma']:g}", *(f"{kl:.4f}" for kl in (r["kl"], *r["kl_range"])), f"{r['agreement']:.1%}"]
            for r in found["rows"]
        ]
        self._writer.add_text("trust region", markdown(head, rows), 0)
        self._writer.flush()

    def generation(self, summary: Generation, saliency: npt.NDArray[np.uint8] | None, lineage: Figure) -> None:
        """Write all numbers of a generation, what its members look at `(height, width, 3)`, and who comes from whom."""
        step = summary.generation + 1
        for tag, value in _scalars(summary):
            self._writer.add_scalar(tag, value, step)
        for line, tag, value in _shared(summary):
            self._lines[line].add_scalar(tag, value, step)
        if saliency is not None:
            self._writer.add_image("saliency", saliency, step, dataformats="HWC")
        self._writer.add_figure("lineage", lineage, step)
        for writer in (self._writer, *self._lines.values()):
            writer.flush()

    def results(self, report: Mapping[str, Any]) -> None:
        """Write the final comparison of report.json: a table, and one number for each competitor."""
        step = report["generations"]
        for name in competitors(report):
            self._writer.add_scalar(f"results/{name}", report[name]["test"]["score"], step)
        table = markdown(*comparison(report))
        said, verdict = plain(measured(report)), plain(report["verdict"])
        self._writer.add_text("results", f"{said}\n\n{table}\n\n**{verdict}**", step)
        self._writer.flush()

    def close(self) -> None:
        """Finish the log."""
        for writer in (self._writer, *self._lines.values()):
            writer.close()


class TensorBoard(Listener):
    """Writes a run's TensorBoard log."""

    def on_start(self, event: Start) -> None:
        """See `Listener`."""
        self._unit = event.problem.unit
        self._log = Tracker(event.folder, first=event.generations, scaled=event.scaled)

    def on_sigma(self, found: Mapping[str, Any]) -> None:
        """See `Listener`."""
        self._log.trust_region(found)

    def on_generation(self, event: GenerationEnd) -> None:
        """See `Listener`."""
        rows = [{**row, "generation": row["generation"] + 1} for row in event.population if row["status"] == "ok"]
        members = [genome.key for genome in event.ensemble.genomes]
        drawn = lineage(rows, members, event.summary.fitness["parent"], self._unit)
        self._log.generation(event.summary, event.picture, drawn)

    def on_report(self, event: RunEnd) -> None:
        """See `Listener`."""
        self._log.results(event.report)

    def on_stop(self) -> None:
        """See `Listener`."""
        self._log.close()


def _scalars(g: Generation) -> Iterator[tuple[str, float]]:
    for name, score in g.fitness.items():
        yield f"{BETWEEN}/{name}", score
    if g.ensemble is not None:
        yield f"{BETWEEN}/ensemble", g.ensemble
    if g.reliability is not None:
        yield "search/reliability", g.reliability
    if g.sigma is not None:
        yield "search/sigma", g.sigma
    yield "search/failed", g.failed
    for name, value in g.search.items():
        yield f"search/{name}", value
    yield "search/evaluations", g.evaluations
    yield "speed/samples_per_second", g.samples_per_second
    yield "speed/seconds", g.seconds


def _shared(g: Generation) -> Iterator[tuple[str, str, float]]:
    """Yield line, tag and value of what shares a chart."""
    for name, value in g.fitness.items():
        yield name, CHILDREN, value
    yield "parent", ENSEMBLE, g.fitness["parent"]
    if g.ensemble is not None:
        yield "ensemble", ENSEMBLE, g.ensemble
    for name, measure in g.diversity.items():
        yield "ensemble", f"diversity/{name}", measure["value"]
        yield "floor", f"diversity/{name}", measure["floor"]


def _layout(scaled: bool) -> dict[str, dict[str, list[Any]]]:
    """The custom-scalars page: fitness in one chart, each diversity measure beside its floor.

    Speed and cost are not on it: of two points far apart TensorBoard shows none there, unless outliers are to be shown.
    """
    search: dict[str, dict[str, list[Any]]] = {"search": {"σ": ["Multiline", ["search/sigma$"]]}} if scaled else {}
    return {
        "fitness": {
            "children and parent": ["Multiline", [f"{CHILDREN}$"]],
            "ensemble and parent": ["Multiline", [f"{ENSEMBLE}$"]],
            "reliability of the ranking": ["Multiline", ["search/reliability$"]],
        },
        "diversity and its floor": {
            f"{measure.title}, {measure.unit}": ["Multiline", [f"diversity/{measure.name}$"]] for measure in watched()
        },
        **search,
    }


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """Return a table as TensorBoard shows it."""
    lines = [map(plain, head), ["---"] * len(head), *(map(plain, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def plain(text: str) -> str:
    """Return a text as Markdown that reads as it stands: no letter of it is a tag, a line's end, code or a column's."""
    return escape(_MARKS.sub(r"\\\g<0>", " ".join(visible(text).split())), quote=False)
