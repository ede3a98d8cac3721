"""What can be known to be wrong before the first generation: checked at a run's start, and by a dry run."""

from __future__ import annotations

from evoens.experiment.distances import require_distances
from evoens.experiment.journal import Journal
from evoens.experiment.state import Experiment
from evoens.experiment.traits import require_traits
from evoens.graph.reach import SMALL, reach
from evoens.graph.soundness import ASKED, check


def preflight(experiment: Experiment, journal: Journal) -> None:
    """Refuse a network whose results would not repeat, or that cannot be compared as asked; say what else is odd.

    Raises:
        EvoensError: the run could not go on to its end, or would end otherwise the next time.
    """
    parent = experiment.problem.parent
    share, reached = reach(parent)
    (journal.warn if share < SMALL else journal.stage)(reached)
    require_distances(experiment)
    require_traits(experiment, experiment.search(experiment.strategy).traits)
    sound = check(parent, experiment.problem.probe(ASKED))
    for sentence in (*experiment.config.remarks, *parent.notes, *sound, *experiment.cautions):
        journal.warn(sentence)
