"""Action temperature as a competitor: how much of a gain one number has, which makes a policy surer of itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from torch import Tensor

from evoens.genome import Genome
from evoens.methods.base import Evolved, Fitted, Method
from evoens.parent import Predictor
from evoens.progress import OnProgress
from evoens.scoring.metrics import standard_error


@runtime_checkable
class Acting(Protocol):
    """A problem of policies, whose actions are drawn from their probabilities."""

    action_temperatures: Sequence[float]
    """What is tried, 1 among it; nothing, where actions are not drawn."""


class Tempered(Method):
    """The parent, or the ensemble, with each action's probability p as p^(1/T)/Σ p^(1/T), T fitted on the select split.

    It is to a policy what temperature scaling is to a classifier. Where T is 1 there is nothing new to measure.
    """

    def __init__(self, of: Literal["parent", "ensemble"]) -> None:
        self.name, self._of = f"{of}_tempered", of

    def fit(self, evolved: Evolved, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Method`; where no actions are drawn it has nothing to say."""
        temperatures = evolved.problem.action_temperatures if isinstance(evolved.problem, Acting) else ()
        if not temperatures:
            return Fitted()
        returns = {t: self._returns(evolved, t) for t in temperatures}
        chosen = fitted(returns)
        about = {"size": len(evolved.members), "parent": evolved.config.selection.parent}
        details = {"temperature": {self._of: chosen}, "action_temperatures": {self._of: tried(returns)}}
        return Fitted(
            [lambda: self._predictor(evolved, chosen)] if chosen != 1 else [],
            {**(about if self._of == "ensemble" else {}), "temperature": chosen},
            details=lambda results: details,
            likeliest=self._of,
        )

    def _returns(self, evolved: Evolved, temperature: float) -> Tensor:
        """Return what each select level brings at a temperature, `(n,)`; played once."""
        problem, split = evolved.problem, evolved.problem.split("select")
        return evolved.ledger.get_or_run(
            split,
            f"{self.name} {temperature:g}",
            lambda: problem.evaluate(self._predictor(evolved, temperature), split),
        )

    def _predictor(self, evolved: Evolved, temperature: float) -> Predictor:
        members = evolved.members if self._of == "ensemble" else [Genome()]
        return partial(evolved.ensemble(members, temperature=temperature).predict, calibrated=True)


def fitted(returns: Mapping[float, Tensor]) -> float:
    """Return the temperature of the highest mean return, or 1 where that is not above 1's by more than its error.

    The one-standard-error rule (Breiman et al. 1984, section 3.4.3), with the standard error of the paired difference,
    since select levels are few: 16 of bigfish, cut at 400 steps, know the gain of our parent (+0.1 to +0.3 of a return
    of 5.1, by 8 action streams) to ±0.5, and half of such fits leave 1; the surrogate advantage of `judgement` knows no
    more. What a temperature is worth is for the test levels to say.

    Args:
        returns: of the same levels at each temperature, `(n,)` each; 1 is among them.
    """
    best = max(returns, key=lambda t: float(returns[t].mean()))
    gain = returns[best] - returns[1.0]
    error = standard_error(gain)
    return best if error is not None and float(gain.mean()) > error else 1.0


def tried(returns: Mapping[float, Tensor]) -> list[dict[str, Any]]:
    """Return what report.json says of each temperature that was tried."""
    gains = {t: own - returns[1.0] for t, own in returns.items()}
    return [
        {
            "temperature": t,
            "score": float(own.mean()),
            "difference": float(gains[t].mean()),
            "standard_error": standard_error(gains[t]),
        }
        for t, own in returns.items()
    ]
