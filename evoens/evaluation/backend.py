"""Where children are measured: jobs as JSON go out, outcomes come back in whatever order they are done."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from safetensors.torch import load, save
from torch import Tensor

from evoens.genome import Genome
from evoens.graph.feature_cache import Kept
from evoens.network.inputs import Inputs
from evoens.problem import Evaluation, Split


@dataclass(frozen=True, slots=True)
class Job:
    """One child to be measured on some cases: all that a worker must be told, who has the parent and the problem."""

    genome: Genome
    split: Split

    def to_json(self) -> dict[str, Any]:
        """Return plain values; `from_json` is the inverse."""
        return {"measure": [self.split.name, self.split.first, self.split.count], "genome": self.genome.to_json()}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Job:
        """Return what `to_json` gave."""
        return cls(Genome.from_json(row["genome"]), Split(*row["measure"]))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one child: its evaluation, or the error that ended it."""

    genome: Genome
    evaluation: Evaluation | None
    error: str | None

    @property
    def status(self) -> str:
        """`"ok"` or `"failed"`."""
        return "ok" if self.error is None else "failed"

    def packed(self) -> tuple[dict[str, Any], bytes]:
        """Return plain values, and all tensors to the bit as safetensors; `unpacked` is the inverse.

        `Evaluation.members` stay behind: those are ensembles' only.
        """
        row = {"genome": self.genome.to_json(), "error": self.error, "samples": None}
        if (found := self.evaluation) is None:
            return row, b""
        named = {"": found.cases, **_under("extra", found.extra_metrics), **_under("kept", found.artifacts)}
        whole = {name: value.clone(memory_format=torch.contiguous_format) for name, value in named.items()}
        return {**row, "samples": found.samples}, save(whole)

    @classmethod
    def unpacked(cls, row: dict[str, Any], tensors: bytes) -> Outcome:
        """Return what `packed` gave."""
        genome = Genome.from_json(row["genome"])
        if row["samples"] is None:
            return cls(genome, None, row["error"])
        named = load(tensors)
        own = (named[""], row["samples"], _within("extra", named), _within("kept", named))
        return cls(genome, Evaluation(*own), row["error"])


def _under(kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{kind}/{name}": value for name, value in tensors.items()}


def _within(kind: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(f"{kind}/"): value for name, value in tensors.items() if name.startswith(f"{kind}/")}


class Backend(Protocol):
    """Measures children; the `Evaluator` is the one that does it here, in this process."""

    @property
    def device(self) -> torch.device:
        """Where the networks of a run's own process are."""

    @property
    def kept(self) -> Kept:
        """What ensembles in a run's own process share on fixed inputs."""

    def map(self, jobs: Sequence[Job]) -> Iterator[tuple[int, Outcome]]:
        """Yield the place among `jobs` and the outcome of each, in the order in which they are done.

        The same job gives the same bits wherever it is done; a child that fails is an outcome like any other.
        """

    def outputs(self, genomes: Sequence[Genome], inputs: Inputs, batch: int = 64, kept: Kept | None = None) -> Tensor:
        """Return each child's probabilities on `inputs`, `(k, n, c)`; see `Evaluator.outputs`."""


def measure(
    backend: Backend,
    genomes: Sequence[Genome],
    split: Split,
    on_result: Callable[[int, Outcome], None] = lambda *_: None,
) -> list[Outcome]:
    """Return each genome's outcome on `split`, in order.

    on_result: called with each outcome and its place, in order too, as soon as those before it are known.
    """
    outcomes: dict[int, Outcome] = {}
    told = 0
    for place, outcome in backend.map([Job(genome, split) for genome in genomes]):
        outcomes[place] = outcome
        while told in outcomes:
            on_result(told, outcomes[told])
            told += 1
    return [outcomes[place] for place in range(len(genomes))]
