"""Parent and ensemble on cases that the parent has learnt on: how much of a score is learnt by heart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from evoens.genome import Genome
from evoens.methods.base import Evolved, Fitted, Method
from evoens.problem import Evaluation, Split, drive
from evoens.progress import OnProgress
from evoens.scoring.metrics import bootstrap, difference, mean_of


@runtime_checkable
class Seeing(Protocol):
    """A problem that can measure a predictor on what the parent has learnt on."""

    seen: Split | None
    """Which of these cases are measured; None where none are."""


class Seen(Method):
    """No competitor: what parent and ensemble reach on train cases, beside what they reach on test cases.

    The generalisation gap of Cobbe et al. (2020): levels of training against levels that nothing has seen.
    """

    name = "seen"

    def fit(self, evolved: Evolved, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Method`; where no such cases are asked for it has nothing to say."""
        split = evolved.problem.seen if isinstance(evolved.problem, Seeing) else None
        if split is None:
            return Fitted()
        for name, genomes in (("parent", [Genome()]), ("ensemble", evolved.members)):
            evolved.ledger.get_or_run(split, name, partial(_played, evolved, genomes, split))
        return Fitted(details=partial(_details, evolved, split))


def _played(evolved: Evolved, genomes: Sequence[Genome], split: Split) -> Evaluation:
    return drive(evolved.problem.cases(split), evolved.ensemble(genomes).predict)


def _details(evolved: Evolved, split: Split, results: Mapping[str, Evaluation]) -> dict[str, Any]:
    resamples, seed = evolved.config.report.bootstrap, evolved.config.seed
    found = {name: mean_of(evolved.ledger.evaluation(split, name).cases) for name in ("parent", "ensemble")}
    less = difference(found["ensemble"], found["parent"])
    statistics = {**found, "difference": less}
    return {"seen": {name: bootstrap(own, resamples, seed).to_json() for name, own in statistics.items()}}
