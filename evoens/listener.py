"""Callbacks of a run: what it tells whoever watches it, such as the console, TensorBoard and the report page."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evoens.errors import one_line
from evoens.progress import Generation, Progress

if TYPE_CHECKING:  # the console waits for none of them
    import numpy as np
    from numpy.typing import NDArray

    from evoens.ensemble import Ensemble
    from evoens.problem import Problem

Warn = Callable[[str], None]


@dataclass(frozen=True)
class Start:
    """A run begins, or goes on.

    Attributes:
        folder: of the run.
        problem: what it is measured on.
        seed: of the run.
        generations: how many are done.
        scaled: whether what its Strategy does has a scale.
        measuring: the children that are being measured, and since when by `time.monotonic`; kept up to date.
    """

    folder: Path
    problem: Problem
    seed: int
    generations: int
    scaled: bool
    measuring: Mapping[str, float]


@dataclass
class GenerationEnd:
    """A generation is complete; a listener may add to its record before it is kept.

    Attributes:
        summary: the generation in numbers.
        ensemble: of the best so far.
        population: a row for every child so far, as in population.jsonl.
        warn: tells the user a sentence, which the report keeps.
        picture: what the members look at, RGB `(height, width, 3)`, once a listener has drawn it.
    """

    summary: Generation
    ensemble: Ensemble
    population: Sequence[Mapping[str, Any]]
    warn: Warn
    picture: NDArray[np.uint8] | None = None

    def record(self, diversity: Mapping[str, Mapping[str, float]], picture: NDArray[np.uint8] | None) -> None:
        """Add to the generation's record how far the members differ, `{name: {"value", "floor"}}`."""
        merged = {**self.summary.diversity, **{name: dict(row) for name, row in diversity.items()}}
        self.summary, self.picture = replace(self.summary, diversity=merged), picture


@dataclass(frozen=True)
class RunEnd:
    """A run is complete: its folder, its ensemble, and what its report.json holds."""

    folder: Path
    ensemble: Ensemble
    report: Mapping[str, Any]


class Listener:
    """Is told what a run does; subclass it, and override what you care for."""

    def on_start(self, event: Start) -> None:
        """The run begins, or goes on."""

    def on_stage(self, text: str) -> None:
        """A new stage begins."""

    def on_progress(self, done: int, total: int, text: str) -> None:
        """`done` of `total` steps called `text` are done, within the stage."""

    def on_training(self, progress: Progress) -> None:
        """A training has come this far."""

    def on_warning(self, text: str) -> None:
        """There is something that the user should know."""

    def on_scope(self, found: Mapping[str, Any]) -> None:
        """The search for a scope has ended; `found` is what history.json holds of it."""

    def on_sigma(self, found: Mapping[str, Any]) -> None:
        """The search for σ has ended; `found` is what history.json holds of it."""

    def on_generation(self, event: GenerationEnd) -> None:
        """A generation is complete."""

    def on_report(self, event: RunEnd) -> None:
        """The verdict is there."""

    def on_stop(self) -> None:
        """The run has ended, or was interrupted."""


class Listeners:
    """Tells several listeners, in order; one that raises is warned about once and left out from then on.

    Args:
        listeners: who is told.
        warn: told of one that failed.
    """

    def __init__(self, listeners: Iterable[Listener], warn: Warn) -> None:
        self._listeners, self._warn = list(listeners), warn

    def tell(self, what: Callable[[Listener], None]) -> None:
        """Call `what` with each listener."""
        for listener in tuple(self._listeners):
            try:
                what(listener)
            except Exception as error:  # whoever only watches must not end what it watches
                self._listeners.remove(listener)
                self._warn(f"{type(listener).__name__} has failed and is left out from now on: {one_line(error)}")
