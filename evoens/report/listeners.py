"""The listeners of a run as the command line starts it."""

from __future__ import annotations

from evoens.ensemble import Ensemble
from evoens.genome import Genome
from evoens.listener import Listener, RunEnd, Start
from evoens.problem import Filmed
from evoens.report.gif import gif
from evoens.report.page import write_report
from evoens.report.tensorboard import TensorBoard
from evoens.report.watcher import DiversityWatch


def standard(console: Listener) -> list[Listener]:
    """Return all, those who draw before those who show, `console` last."""
    return [DiversityWatch(), TensorBoard(), Films(), Page(), console]


class Films(Listener):
    """Films parent and ensemble on the first test case, where the problem can be filmed: `pictures/*.gif`."""

    def on_start(self, event: Start) -> None:
        """See `Listener`."""
        self._problem = event.problem

    def on_report(self, event: RunEnd) -> None:
        """See `Listener`."""
        problem, pictures = self._problem, event.folder / "pictures"
        if not isinstance(problem, Filmed):
            return
        pictures.mkdir(exist_ok=True)
        parent = Ensemble(problem.parent, event.ensemble.strategy, [Genome()])
        for name, player in (("parent", parent), ("ensemble", event.ensemble)):
            frames, result = problem.film(player.predict, problem.split("test").part(0, 1))
            gif(frames, pictures / f"{name}.gif", caption=f"{name}: return {result:g}")


class Page(Listener):
    """Writes report.html."""

    def on_report(self, event: RunEnd) -> None:
        """See `Listener`."""
        write_report(event.folder)
