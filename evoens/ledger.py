"""The ledger: every measurement already paid for, so that an interrupted stage goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypedDict

import torch
from torch import Tensor

from evoens.evaluate import Evaluator, Outcome
from evoens.genome import Genome
from evoens.problem import Evaluation, Split


class Entry(TypedDict):
    """One measurement: results per case, inputs predicted; or the error that made it fail."""

    cases: list[float]
    samples: int
    error: str | None


class Ledger:
    """Measurements by name and split; plain JSON, written with every checkpoint."""

    def __init__(self, entries: dict[str, Entry] | None = None) -> None:
        self.entries: dict[str, Entry] = entries or {}

    @property
    def evaluations(self) -> int:
        """How many measurements were made."""
        return len(self.entries)

    @property
    def samples(self) -> int:
        """How many inputs they predicted."""
        return sum(entry["samples"] for entry in self.entries.values())

    def measure(
        self, evaluator: Evaluator, genomes: Sequence[Genome], split: Split, on_done: Callable[[int], None]
    ) -> list[Outcome]:
        """Return the outcome of each genome on `split`, in order, running only what is not here yet."""
        missing = [g for g in dict.fromkeys(genomes) if not self.has(split, g.key)]
        known = len(genomes) - len(missing)

        def note(place: int, outcome: Outcome) -> None:
            self.note(split, outcome.genome.key, outcome.evaluation, outcome.error)
            on_done(known + place + 1)

        evaluator.evaluate(missing, split, note)
        return [self._outcome(genome, self.entries[_name(split, genome.key)]) for genome in genomes]

    def once(self, split: Split, name: str, run: Callable[[], Evaluation]) -> Tensor:
        """Return the cases, float64 `(n,)`, of the measurement `name` on `split`, running it only the first time."""
        if not self.has(split, name):
            self.note(split, name, run(), None)
        return self.cases(split, name)

    def has(self, split: Split, name: str) -> bool:
        """Whether the measurement `name` on `split` was made."""
        return _name(split, name) in self.entries

    def cases(self, split: Split, name: str) -> Tensor:
        """Return the cases, float64 `(n,)`, of a measurement that was made."""
        return torch.tensor(self.entries[_name(split, name)]["cases"], dtype=torch.float64)

    def note(self, split: Split, name: str, evaluation: Evaluation | None, error: str | None) -> None:
        """Write down one measurement."""
        cases = [] if evaluation is None or error else evaluation.cases.tolist()
        self.entries[_name(split, name)] = Entry(
            cases=cases, samples=evaluation.samples if evaluation else 0, error=error
        )

    def _outcome(self, genome: Genome, entry: Entry) -> Outcome:
        if entry["error"] is not None:
            return Outcome(genome, None, entry["error"])
        cases = torch.tensor(entry["cases"], dtype=torch.float64)
        return Outcome(genome, Evaluation(cases, entry["samples"]), None)


def _name(split: Split, who: str) -> str:
    return f"{split.name}/{split.first}+{split.count}/{who}"
