"""One network at as many frames as all children together have learnt from: the parent trained on, or one child."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Protocol, runtime_checkable

from evoens.ensemble import Ensemble
from evoens.errors import ProblemError
from evoens.genome import Genome
from evoens.methods.base import Evolved, Fitted, Method
from evoens.parent import Parent, Predictor
from evoens.progress import OnProgress
from evoens.strategy import Strategy


@runtime_checkable
class TrainableFurther(Protocol):
    """A problem of policies, which can train its parent on as it trains its children, for `tuned_frames` each."""

    tuned_frames: int

    def trained_on(self, children: int, folder: Path, on_progress: OnProgress) -> tuple[Parent, Parent]:
        """Return what the parent becomes by the frames of so many children, and the mean of its weights at the end.

        It is trained in `folder`, or taken up there.
        """

    def one_child(
        self, strategy: Strategy, genome: Genome, children: int, folder: Path, on_progress: OnProgress
    ) -> Parent:
        """Return what one child becomes by the frames of so many, trained in `folder`, or taken up there."""


class TrainedOn(Method):
    """The parent, trained on by the settings of the children, for as many frames as all of them that were trained.

    With it comes the mean of its last weights, as in stochastic weight averaging (Izmailov et al. 2018).
    """

    name = "trained_on"

    def fit(self, evolved: Evolved, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Method`; without children that learn by play it has nothing to say."""
        problem, tuned = evolved.problem, evolved.tuned
        if tuned is None or not isinstance(problem, TrainableFurther):
            return Fitted()
        children = tuned.count()
        frames = children * problem.tuned_frames
        try:
            network, mean = problem.trained_on(children, folder, on_progress)
        except ProblemError as error:  # it has diverged, and the run goes on
            return diverged(self.name, frames, error)
        about = {"label": f"the parent trained on, {frames:,} frames", "children": children, "frames": frames}
        averaged = Fitted([partial(alone, evolved, mean)], {**about, "label": "the mean of its last weights"})
        return Fitted([partial(alone, evolved, network)], about, also={"averaged": averaged})


class OneChild(Method):
    """The best child, trained from its birth for as many frames as all children: what is gained by having several."""

    name = "one_child"

    def fit(self, evolved: Evolved, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Method`; without children that learn by play it has nothing to say."""
        problem, tuned = evolved.problem, evolved.tuned
        if tuned is None or not isinstance(problem, TrainableFurther):
            return Fitted()
        children = tuned.count()
        frames = children * problem.tuned_frames
        try:
            network = problem.one_child(evolved.strategy, evolved.best, children, folder, on_progress)
        except ProblemError as error:
            return diverged(self.name, frames, error)
        about = {"label": f"one child, {frames:,} frames", "key": evolved.best.key, "frames": frames}
        return Fitted([partial(alone, evolved, network)], about)


def diverged(name: str, frames: int, error: ProblemError) -> Fitted:
    """Return what a run has of a training that has diverged: why."""
    why = {name: {"frames": frames, "error": str(error)}}
    return Fitted(details=lambda _: why)


def alone(evolved: Evolved, network: Parent) -> Predictor:
    """Return what predicts by a network of its own, as the run's other predictors do."""
    return Ensemble(network, evolved.strategy, [Genome()], evolved.device).predict
