"""Diversity, generation by generation: a listener that looks at the members of the ensemble so far."""

from __future__ import annotations

from collections.abc import Iterator

from evoens.diversity.distances import NO_GRADIENT
from evoens.diversity.pictured import Pictured, logits_fn, pictured
from evoens.diversity.pictures import png
from evoens.diversity.saliency import COPIES
from evoens.diversity.watch import Diversity, watch, watch_answers, watch_outputs
from evoens.ensemble import Ensemble
from evoens.errors import EvoensError
from evoens.graph.flops import affordable
from evoens.listener import GenerationEnd, Listener, Start
from evoens.network.inputs import shape_of
from evoens.parent import LogitsFn
from evoens.plugins.guest import guest
from evoens.storage.files import write_atomic

PICTURES, FEWEST = 8, 2  # that are looked at: so many, fewer where the network is large
PASSES = 6 * COPIES  # of a picture through each network: there and back, under two draws of noise
EFFORT = 5e12  # floating-point operations of a look: what two cores do in a minute


class DiversityWatch(Listener):
    """Adds to each generation's record how far its members differ, and draws what they look at.

    The picture of the newest generation is `pictures/saliency.png` of the run's folder.
    """

    def on_start(self, event: Start) -> None:
        """See `Listener`."""
        self._problem, self._seed, self._pictures = event.problem, event.seed, event.folder / "pictures"
        self._pictures.mkdir(exist_ok=True)

    def on_generation(self, event: GenerationEnd) -> None:
        """See `Listener`."""
        seen = self._look(event)
        event.record(seen.to_json(), seen.picture)
        if seen.picture is not None:
            write_atomic(self._pictures / "saliency.png", png(seen.picture))

    def _look(self, event: GenerationEnd) -> Diversity:
        """Watch the members, and beside them the parent; their answers where no more can be had."""
        problem, networks = self._problem, len(event.ensemble.genomes) + 1
        if not isinstance(problem, Pictured):
            return watch_outputs(event.ensemble.outputs(problem.probe()))
        module, shape = problem.parent.module, shape_of(problem.probe(1))
        pictures = problem.pictures(max(FEWEST, affordable(EFFORT / (PASSES * networks), module, shape, PICTURES)))
        parent = problem.parent.child({}).module  # a copy: a network may keep what it has just computed
        try:
            with guest(NO_GRADIENT):
                return watch(self._members(event.ensemble), pictures, self._seed, logits_fn(problem, parent))
        except EvoensError as error:
            event.warn(f"what members look at is neither drawn nor compared: {error}")
            return watch_answers(self._members(event.ensemble), pictures, self._seed)

    def _members(self, ensemble: Ensemble) -> Iterator[LogitsFn]:
        """Make one member after the other: a network may be large."""
        return (logits_fn(pictured(self._problem), ensemble.member(genome)) for genome in ensemble.genomes)
