"""The Evaluator: genomes to evaluations, fast and in order; a child that fails is a result like any other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from evoens.children import TunedWeights, child_weights
from evoens.ensemble import Ensemble
from evoens.errors import ProblemError, one_line
from evoens.evaluation.backend import Job, Outcome, measure
from evoens.evaluation.batch_runner import BatchRunner, Results
from evoens.evaluation.memory import budget
from evoens.evaluation.plan import Plan
from evoens.evaluation.planning import PROBE_INPUTS, Batches, quickest
from evoens.evaluation.trunk import shared_trunk, touched
from evoens.genome import Genome
from evoens.graph.cut import traces
from evoens.graph.feature_cache import Kept
from evoens.network.inputs import Inputs, count, parts
from evoens.parent import Parent
from evoens.problem import FixedInputs, Problem, Split
from evoens.settings.evaluation import DEFAULT, EvaluationSettings
from evoens.storage.measuring import FATAL, Measuring
from evoens.strategy import Strategy

__all__ = ["Evaluator", "Outcome", "Plan"]

GROUP = 8  # children whose outputs are taken together: they share what they have in common


class Evaluator:
    """Rebuilds children and measures them on a problem, the same bits in any order and however they are grouped.

    Children share what comes before the first tensor that they touch; the parent runs as one that touches the
    Strategy's scope. Where inputs are the same for all it is computed once (`evoens.evaluation.trunk_cache`), else for
    the inputs of several children in one batch (`evoens.evaluation.plan.Branches`). Memory is one parent, the children
    that run at a time, what they share, and the evaluations, whatever the population.

    Args:
        parent: the network children are rebuilt from.
        strategy: rebuilds them.
        problem: what they are measured on.
        plan: how they are run; None finds the one for children of the Strategy's scope (some seconds).
        device: where they are run; None is a CUDA device where there is one, else the CPU.
        settings: precision, memory and how long a child may take.
        measuring: is told of each child that begins and ends, and knows in which the process has died.
        tuned: where trained children are; None where they are measured as they are born.

    Attributes:
        resident: the parent where children are run, so that noise and masks are drawn there, too.
        kept: what children of the Strategy's scope share on fixed inputs, also for ensembles of them.
    """

    def __init__(
        self,
        parent: Parent,
        strategy: Strategy,
        problem: Problem,
        plan: Plan | None = None,
        device: torch.device | str | None = None,
        *,
        settings: EvaluationSettings = DEFAULT,
        measuring: Measuring | None = None,
        tuned: TunedWeights | None = None,
    ) -> None:
        self.parent, self.strategy, self.problem, self.settings = parent, strategy, problem, settings
        self.tuned = tuned
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.resident = parent.on(self.device)
        self._scope = self._touched([strategy.scope])
        self.plan = plan or self._quickest()
        self.measuring = measuring or Measuring()
        self.kept = Kept(self._memory if isinstance(problem, FixedInputs) else 0, self._scope)
        self._latest: BatchRunner | None = None

    @property
    def untraced(self) -> bool:
        """Whether children of the Strategy's scope might share something, were torch.fx able to trace the network."""
        return self._scope != self._touched([()]) and not traces(self.parent.module, self._scope)

    def evaluate(
        self, genomes: Sequence[Genome], split: Split, on_result: Callable[[int, Outcome], None] = lambda *_: None
    ) -> list[Outcome]:
        """Return each genome's outcome on `split`, in order, in the plan's precision.

        on_result: called with each outcome and its place in `genomes` as soon as it is known.

        An exception or a number that is not finite, of a child or of its cases, fails that child and no other.
        """
        return measure(self, genomes, split, on_result)

    def map(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """Yield the place and the outcome of each job, those on the same cases together; see `Backend`."""
        for split in dict.fromkeys(job.split for job in jobs):
            places = [place for place, job in enumerate(jobs) if job.split == split]
            for i, result in self._results([jobs[place].genome for place in places], split):
                error = one_line(result) if isinstance(result, Exception) else None
                evaluation = None if isinstance(result, Exception) else result
                yield places[i], Outcome(jobs[places[i]].genome, evaluation, error)

    def outputs(self, genomes: Sequence[Genome], inputs: Inputs, batch: int = 64, kept: Kept | None = None) -> Tensor:
        """Return each child's probabilities on `inputs` `(n, *input)`, float32, `(k, n, c)`, `batch` inputs a pass.

        kept: what children share on these inputs, where they are asked for again; see `room`.
        """
        rows = []
        for start in range(0, len(genomes), GROUP):
            some = genomes[start : start + GROUP]
            children = Ensemble(self.parent, self.strategy, some, self.device, tuned=self.tuned, kept=kept)
            found = [children.outputs(part) for part in parts(inputs, batch)]
            rows.append(torch.cat(found, dim=1))
        return torch.cat(rows)

    def room(self, strategy: Strategy) -> Kept:
        """Return room for what children of a Strategy share on inputs that are asked for again."""
        return Kept(self._memory, self._touched([strategy.scope]))

    def of_born(self) -> Evaluator:
        """Return one that measures children as they are born, before any training."""
        found = copy.copy(self)
        found.tuned, found._latest = None, None
        found._scope = found._touched([self.strategy.scope])
        return found

    @property
    def _memory(self) -> int:
        """The bytes for what is shared: half of what there is, as a split's features are had in blocks besides."""
        return budget(self.settings.memory) // 2

    def _quickest(self) -> Plan:
        inputs, fixed = self.problem.probe(PROBE_INPUTS), isinstance(self.problem, FixedInputs)
        cut = shared_trunk(self.problem, self.parent, self._scope) if fixed else None
        if cut is None or isinstance(inputs, tuple):
            batches = Batches(inputs, self._sizes(), own=isinstance(inputs, tuple))
            return quickest(self.parent.module, self._scope, batches, self.device, self.settings)
        with torch.inference_mode():
            features = Plan().fit(cut.trunk, self.device)(inputs.to(self.device))
        plan = quickest(cut.tail, self._scope, Batches(features, self._sizes()), self.device, self.settings)
        for_the_trunk = inputs.dim() == 4 and all(part.dim() != 4 for part in features)
        if self.parent.layout == torch.contiguous_format:
            return replace(plan, layout="contiguous")
        return replace(plan, layout="channels_last") if for_the_trunk else plan

    def _sizes(self) -> set[int]:
        """Return the sizes of the batches that children are given, as far as they are the same for all."""
        if not isinstance(self.problem, FixedInputs):
            return set()
        counts = [self.problem.split(name).count for name in ("search", "select")]
        whole = count(next(self.problem.batches(self.problem.split("search"))))
        return {size for total in counts for size in (min(whole, total), total % whole)}

    def _results(self, genomes: Sequence[Genome], split: Split) -> Results:
        """Measure those in which the process died alone, then all others; one that is fatal is not tried again."""
        brood, together = _Brood(self, genomes), list[int]()
        for place, genome in enumerate(genomes):
            if self.measuring.fatal(genome.key):
                yield place, ProblemError(f"the process died {FATAL} times while this child was measured")
            elif self.measuring.suspect(genome.key):
                yield from self._measured(brood, [place], split)
            else:
                together.append(place)
        yield from self._measured(brood, together, split)

    def _measured(self, brood: _Brood, places: Sequence[int], split: Split) -> Results:
        """Measure children that touch the same tensors together, then those that touch others."""
        kinds: dict[tuple[str, ...], list[int]] = {}
        for place in places:
            names = self._touched([gene.scope for gene in brood.genomes[place].genes])
            kinds.setdefault(names or self._scope, []).append(place)
        for names, some in kinds.items():
            yield from self._runner(names).measure(some, brood, split)

    def _touched(self, scopes: Sequence[Sequence[str]]) -> tuple[str, ...]:
        if self.tuned is not None:
            return tuple(self.parent.weights)
        return touched(self.parent, scopes)

    def _runner(self, names: tuple[str, ...]) -> BatchRunner:
        if self._latest is None or self._latest.touched != names:
            self._latest = None  # gives its memory back before another takes as much
            kept = self.kept if self.kept.touched == set(names) else Kept()
            self._latest = BatchRunner(
                self.problem, self.parent, names, self.plan, self.device, settings=self.settings, kept=kept
            )
        return self._latest


class _Brood:
    """Genomes by their places; see `batch_runner.Brood`. The parent, which nothing may fail, is not written down."""

    def __init__(self, evaluator: Evaluator, genomes: Sequence[Genome]) -> None:
        self.genomes, self._evaluator = genomes, evaluator

    def child_weights(self, child: int) -> Mapping[str, Tensor]:
        own = self._evaluator
        return child_weights(own.resident, own.strategy, self.genomes[child], own.tuned)

    def begin(self, child: int) -> None:
        if self.genomes[child].genes:
            self._evaluator.measuring.begin(self.genomes[child].key)

    def end(self, child: int) -> None:
        if self.genomes[child].genes:
            self._evaluator.measuring.end(self.genomes[child].key)
