"""The comparison: what every Method has made is measured, side by side, on cases that nothing has seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from evoens.ensemble import Ensemble
from evoens.errors import SpecError
from evoens.evaluation.result_cache import ResultCache
from evoens.evaluation.trials import EvaluationTask, run
from evoens.experiment.stopping import blocks, narrow
from evoens.machine.threads import lanes
from evoens.methods.base import Fitted
from evoens.parent import Predictor
from evoens.plugins.guest import guest
from evoens.problem import Evaluation, FixedInputs, Problem, Split
from evoens.scoring.metrics import Statistic, bootstrap, difference
from evoens.scoring.text import interval, number

BASELINE = "parent"  # from which all differences are taken
TOLERANCE = 1e-3  # of the sum of probabilities; rounding in bfloat16 stays below
ENSEMBLE = "ensemble"  # whose difference the verdict is on


@dataclass(frozen=True)
class Measurement:
    """One predictor of a competitor, made when its turn comes, on a part of the test split."""

    name: str
    part: Split
    make: Callable[[], Predictor]


@dataclass(frozen=True)
class Comparison:
    """Competitors on the test split of a problem, each by its score and the measures beside it.

    Attributes:
        problem: what they are measured on.
        competitors: what each Method has made, by its name; the parent is among them.
        device: where their networks run.
        resamples: of the bootstrap.
        seed: of the bootstrap.
        precision: how closely the ensemble's difference is to be known, from which on no further cases are measured
            (see `narrow`); None: all are.
        sharing: an ensemble, whose competitors share what it keeps on fixed inputs.
    """

    problem: Problem
    competitors: Mapping[str, Fitted]
    device: torch.device
    resamples: int
    seed: int
    precision: float | None = None
    sharing: Ensemble | None = None

    def run(
        self, ledger: ResultCache, on_done: Callable[[str, int, int], None]
    ) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """Measure all competitors.

        Returns:
            A block of report.json for each, with the figures of its members, as far as these were measured, under
            `alone`; and what else problem and Methods have to say of their results.

        Args:
            ledger: has what was measured before, and takes what is new.
            on_done: told the name of each finished measurement, how many are done, and of how many.
        """
        rounds = [list(self._measurements(block)) for block in self._rounds()]
        total, seen = sum(map(len, rounds)), list[Measurement]()
        for some in rounds:
            missing = [one for one in some if not ledger.has(one.part, one.name)]
            seen += some
            if missing:
                self._share()
            for left, (one, evaluation) in zip(reversed(range(len(missing))), self._measure(missing), strict=True):
                self._note(one, evaluation, ledger)
                on_done(one.name, len(seen) - left, total)
            parts = {name: [one.part for one in seen if one.name == name] for name in self.competitors}
            results = self._results(parts, ledger)
            found = self._blocks(results, parts, ledger)
            if narrow(found[ENSEMBLE]["test_difference"], self.precision):
                break
        details = self.problem.details(results)
        for fitted in self.competitors.values():
            details = _merged(details, fitted.details(results))
        return found, details

    def _share(self) -> None:
        """Have what competitors share on all inputs computed once, by all cores, before they ask for it on one each."""
        problem, sharing = self.problem, self.sharing
        if sharing is None or not isinstance(problem, FixedInputs):
            return
        kept = sharing.kept
        for inputs in chain(problem.batches(problem.split("select")), problem.batches(problem.split("test"))):
            if kept.full:
                break
            sharing.share(inputs)
        kept.close()

    def _rounds(self) -> list[Split]:
        """The test split; in blocks, where these may be enough."""
        return blocks(self.problem.split("test"), self.problem.block if self.precision else None)

    def _note(self, one: Measurement, evaluation: Evaluation, ledger: ResultCache) -> None:
        ledger.put(one.part, one.name, evaluation, None)
        keys = self.competitors[one.name].members if evaluation.members else ()
        for key, own in zip(keys, evaluation.members, strict=True):
            ledger.put(one.part, key, own, None)

    def _results(self, parts: Mapping[str, Sequence[Split]], ledger: ResultCache) -> dict[str, Evaluation]:
        found = {name: _whole(name, own, ledger) for name, own in parts.items() if own}
        beside = {name: found[self.competitors[name].likeliest or name].extra_metrics for name in found}
        return {name: replace(own, extra_metrics=beside[name]) for name, own in found.items()}

    def _blocks(
        self, results: Mapping[str, Evaluation], parts: Mapping[str, Sequence[Split]], ledger: ResultCache
    ) -> dict[str, dict[str, Any]]:
        found = {name: _statistics(self.problem, result) for name, result in results.items()}
        blocks: dict[str, dict[str, Any]] = {}
        for name, own in found.items():
            fitted, block = self.competitors[name], blocks.setdefault(name, {})
            for label, statistic in own.items():
                less = difference(statistic, found[BASELINE][label])
                block[label] = bootstrap(statistic, self.resamples, self.seed).to_json()
                block[f"{label}_difference"] = bootstrap(less, self.resamples, self.seed).to_json()
            if taken := block.keys() & fitted.about.keys():
                raise SpecError(f"{name}: expected `about` without {', '.join(sorted(taken))}, which is measured")
            alone = self._alone(fitted.members, parts[name], ledger)
            blocks[name] |= {**({"alone": alone} if alone else {}), **fitted.about}
        return blocks

    def _alone(self, keys: Sequence[str], parts: Sequence[Split], ledger: ResultCache) -> list[dict[str, Any]]:
        """The scores of the members that were measured by themselves."""
        known = [key for key in keys if all(ledger.has(part, key) for part in parts)]
        return [{"key": key, **_scores(self.problem, _whole(key, parts, ledger))} for key in known]

    def _measurements(self, split: Split) -> Iterator[Measurement]:
        """What is measured on `split`, which a competitor's predictors share."""
        names = list(self.competitors)
        for name in reversed(names):  # the long ones first, so that at the end no core waits long for another
            fitted = self.competitors[name]
            size = -(-split.count // max(1, len(fitted.parts)))
            for part, make in enumerate(fitted.parts[: -(-split.count // size)]):
                yield Measurement(name, split.part(part * size, size), make)

    def _measure(self, measurements: Sequence[Measurement]) -> Iterator[tuple[Measurement, Evaluation]]:
        """Measure several at once, and give each one's evaluation when it ends.

        Raises:
            Exception: whatever ended a measurement.
        """
        on_their_way: dict[EvaluationTask, tuple[Measurement, Callable[[], Predictor]]] = {}

        def trials() -> Iterator[EvaluationTask]:
            """Yield each when there is room for it."""
            for one in measurements:
                fitted = self.competitors[one.name]
                together, alone = fitted.with_members, self.problem.cases if fitted.likeliest else self.problem.reported
                cases = self.problem.reported_with_members(one.part) if together else None
                trial = EvaluationTask(cases or alone(one.part))
                on_their_way[trial] = one, together if together and cases else one.make
                yield trial

        def prepare(trial: EvaluationTask, lane: _Lane, place: int) -> None:
            one, make = on_their_way[trial]
            with guest(f"{one.name} cannot be made"):
                lane.name, lane.predictor = one.name, make()

        for trial in run([_Lane() for _ in range(lanes(self.device))], trials(), prepare):
            if isinstance(trial.result, Exception):
                raise trial.result
            yield on_their_way.pop(trial)[0], trial.result


class _Lane:
    """Room for one predictor; see `evoens.evaluation.trials.Lane`."""

    places = 1
    name: str
    predictor: Predictor

    def predict(self, inputs: Mapping[int, Any]) -> dict[int, Tensor | Exception]:
        return {place: self._asked(own) for place, own in inputs.items()}

    def _asked(self, inputs: Any) -> Tensor:
        """Ask a predictor, which may be a user's; logits, say, would be measured as if they were probabilities."""
        with guest(f"{self.name} does not predict"):
            outputs = self.predictor(inputs)
            right = bool((outputs >= 0).all()) and bool((outputs.sum(-1) - 1).abs().max() < TOLERANCE)
            if not right and bool(outputs.isfinite().all()):  # what is not finite has words of its own
                raise SpecError(f"{self.name}: expected probabilities, which are ≥ 0 and sum to 1, found other numbers")
        return outputs


def _statistics(problem: Problem, result: Evaluation) -> dict[str, Statistic]:
    """Return each measure of the verdict of one competitor, by the name under which its block has it."""
    own, *beside = problem.measures
    more = {measure.key: measure.statistic(result.extra_metrics[measure.rows or measure.name]) for measure in beside}
    return {"test": own.statistic(result.cases), **more}


def _scores(problem: Problem, result: Evaluation) -> dict[str, float]:
    return {label: statistic.score for label, statistic in _statistics(problem, result).items()}


def _whole(name: str, parts: Sequence[Split], ledger: ResultCache) -> Evaluation:
    """Put what `name` has reached on a split's parts together."""
    found = [ledger.evaluation(part, name) for part in parts]
    beside = {key: torch.cat([part.extra_metrics[key] for part in found]) for key in found[0].extra_metrics}
    return Evaluation(torch.cat([part.cases for part in found]), sum(part.samples for part in found), beside)


def _merged(details: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return both; what they have under one name goes together."""
    both = {key for key in more if isinstance(more[key], Mapping) and isinstance(details.get(key), Mapping)}
    return {**details, **more, **{key: {**details[key], **more[key]} for key in both}}


def verdict(
    problem: Problem, blocks: dict[str, dict[str, Any]], unsure: str = "", precision: float | None = None
) -> str:
    """Return honest words: whether the ensemble beats the parent on unseen cases, and whether selection paid.

    unsure: why they may not be unseen; empty where they are. precision: how closely the difference was to be known.
    Where its interval holds 0, it is no gain if it is known so closely, and cannot be told if it is not.
    """
    ensemble, parent, drawn = (blocks[name]["test"]["score"] for name in (ENSEMBLE, BASELINE, "random_children"))
    difference = blocks[ENSEMBLE]["test_difference"]
    low, high = difference["ci95"]
    known = narrow(difference, precision)
    word = "beats" if low > 0 else "loses to" if high < 0 else "shows no gain over" if known else "cannot be told from"
    better = "above" if ensemble > drawn else "below" if ensemble < drawn else "level with"
    digits, remark = problem.measures[0].digits, problem.verdict_note(blocks)
    cases = f"cases, which {unsure}," if unsure else "unseen cases"
    asked = f", {'' if known else 'not '}known to ±{precision:g}" if precision else ""
    return (
        f"On {difference['n']} {cases} the ensemble {word} the parent: {problem.unit} {number(ensemble, digits)} "
        f"against {number(parent, digits)}, difference {interval(difference, digits, '+')} (95 %, paired{asked}); "
        f"it is {better} as many random children ({number(drawn, digits)}).{remark and f' {remark}'}"
    )
