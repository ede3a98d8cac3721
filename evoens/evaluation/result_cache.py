"""The ledger: every measurement already paid for, so that an interrupted stage goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from evoens.evaluation.backend import Backend, Outcome, measure
from evoens.genome import Genome
from evoens.problem import Evaluation, Split


@dataclass(frozen=True, slots=True)
class Entry:
    """One measurement: its evaluation, without what was kept for selection; or the error that made it fail."""

    evaluation: Evaluation
    error: str | None


class ResultCache:
    """Measurements by name and split: JSON and tensors, written with every checkpoint."""

    def __init__(self, entries: Mapping[str, Entry] | None = None) -> None:
        self.entries: dict[str, Entry] = dict(entries or {})

    @classmethod
    def load(cls, rows: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> ResultCache:
        """Take up what `to_json` and `tensors` gave."""
        entries = {}
        for name, row in rows.items():
            beside = {measure: tensors[f"{name}/{measure}"] for measure in row["beside"]}
            entries[name] = Entry(Evaluation(tensors[name], row["samples"], beside), row["error"])
        return cls(entries)

    def to_json(self) -> dict[str, Any]:
        """Return all but the numbers of each case, which `tensors` holds."""
        return {
            name: {"samples": e.evaluation.samples, "beside": list(e.evaluation.extra_metrics), "error": e.error}
            for name, e in self.entries.items()
        }

    def tensors(self) -> dict[str, Tensor]:
        """Return the results per case, by measurement, and those beside them by measurement and measure."""
        found = {}
        for name, entry in self.entries.items():
            found[name] = entry.evaluation.cases
            found |= {f"{name}/{measure}": rows for measure, rows in entry.evaluation.extra_metrics.items()}
        return found

    @property
    def evaluations(self) -> int:
        """How many measurements were made."""
        return len(self.entries)

    @property
    def samples(self) -> int:
        """How many inputs they predicted."""
        return sum(entry.evaluation.samples for entry in self.entries.values())

    def measure(
        self, backend: Backend, genomes: Sequence[Genome], split: Split, on_done: Callable[[int], None]
    ) -> list[Outcome]:
        """Return the outcome of each genome on `split`, in order, running only what is not here yet."""
        missing = [g for g in dict.fromkeys(genomes) if not self.has(split, g.key)]
        known = len(genomes) - len(missing)

        def note(place: int, outcome: Outcome) -> None:
            self.put(split, outcome.genome.key, outcome.evaluation, outcome.error)
            on_done(known + place + 1)

        measure(backend, missing, split, note)
        return [_outcome(genome, self.entries[_name(split, genome.key)]) for genome in genomes]

    def get_or_run(self, split: Split, name: str, run: Callable[[], Evaluation]) -> Tensor:
        """Return the cases, float64 `(n,)`, of the measurement `name` on `split`, running it only the first time."""
        if not self.has(split, name):
            self.put(split, name, run(), None)
        return self.evaluation(split, name).cases

    def has(self, split: Split, name: str) -> bool:
        """Whether the measurement `name` on `split` was made."""
        return _name(split, name) in self.entries

    def evaluation(self, split: Split, name: str) -> Evaluation:
        """Return a measurement that was made."""
        return self.entries[_name(split, name)].evaluation

    def put(self, split: Split, name: str, evaluation: Evaluation | None, error: str | None) -> None:
        """Write down one measurement."""
        samples = evaluation.samples if evaluation else 0
        if evaluation is None or error:
            noted = Evaluation(torch.zeros(0, dtype=torch.float64), samples)
        else:
            noted = Evaluation(evaluation.cases, samples, evaluation.extra_metrics)
        self.entries[_name(split, name)] = Entry(noted, error)


def _outcome(genome: Genome, entry: Entry) -> Outcome:
    return Outcome(genome, None if entry.error else entry.evaluation, entry.error)


def _name(split: Split, who: str) -> str:
    return f"{split.name}/{split.first}+{split.count}/{who}"
