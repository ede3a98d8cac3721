"""What can be known to be wrong before the first generation: checked at a run's start, and by a dry run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evoens.diversity.distances import OF_OUTPUTS
from evoens.errors import EvoensError, about
from evoens.evolution import NO_GRADIENT
from evoens.genome import Genome
from evoens.guest import guest
from evoens.reach import SMALL, reach
from evoens.soundness import ASKED, check

if TYPE_CHECKING:
    from evoens.run import Run


def preflight(run: Run) -> None:
    """Refuse a network whose results would not repeat, or that cannot be compared as asked; say what else is odd.

    Raises:
        EvoensError: the run could not go on to its end, or would end otherwise the next time.
    """
    share, reached = reach(run.problem.parent)
    (run.warn if share < SMALL else run.reporter.stage)(reached)
    _require_looks(run)
    sound = check(run.problem.parent, run.problem.probe(ASKED))
    for sentence in (*run.config.remarks, *run.problem.parent.notes, *sound, *run.experiment.cautions):
        run.warn(sentence)


def _require_looks(run: Run) -> None:
    """Have the parent looked at, where children are to be bred or chosen by what they look at.

    Raises:
        EvoensError: the network has no gradient by its inputs.
    """
    for name, own in (("search", run.config.search), ("selection", run.config.selection)):
        if not own.diversity or own.diversity_by in OF_OUTPUTS:
            continue
        expected = f"expected one of {', '.join(OF_OUTPUTS)}, found {own.diversity_by}"
        with about(name, "diversity_by"), guest(f"{name}.diversity_by: {expected}: {NO_GRADIENT}", EvoensError):
            run.apart([Genome()], own.diversity_by)
