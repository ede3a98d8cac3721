"""Competing methods: what each is given, and the predictors that it hands back for the comparison."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evoens.children import TunedWeights
from evoens.ensemble import Ensemble
from evoens.evaluation.result_cache import ResultCache
from evoens.genome import Genome
from evoens.graph.feature_cache import Kept
from evoens.methods.setting import Setting
from evoens.parent import Predictor
from evoens.predictors.networks import Networks
from evoens.problem import Evaluation
from evoens.progress import OnProgress
from evoens.strategy import Strategy
from evoens.tasks.lesson import Spent, Trained


@dataclass(frozen=True, kw_only=True)
class Evolved(Setting):
    """What an evolution has found, and what it was found with: `len(members)` networks are what others get as well.

    Attributes:
        strategy: makes the children.
        members: of the ensemble, the parent among them where it votes.
        best: the child with the highest score on the select split.
        unselected: the children of the first generation: what draws of the Strategy give without any search.
        tuned: where the weights of trained children are.
        ledger: keeps what a Method measures to fit itself.
        kept: what ensembles of the Strategy's scope share on fixed inputs.
    """

    strategy: Strategy
    members: Sequence[Genome]
    best: Genome
    unselected: Sequence[Genome]
    tuned: TunedWeights | None = None
    ledger: ResultCache = field(default_factory=ResultCache)
    kept: Kept = field(default_factory=Kept)

    def ensemble(self, genomes: Sequence[Genome], **more: Any) -> Ensemble:
        """Return children as an ensemble, by the run's rule; `more` goes to `Ensemble`."""
        rule, seed = self.config.selection.combine, self.config.seed
        more |= {"rule": rule, "seed": seed, "tuned": self.tuned, "kept": self.kept}
        return Ensemble(self.problem.parent, self.strategy, genomes, self.device, **more)


def _no_details(results: Mapping[str, Evaluation]) -> dict[str, Any]:
    return {}


@dataclass(frozen=True)
class Fitted:
    """What a Method has made.

    Attributes:
        parts: makes a predictor each. The test split is cut in as many parts, and each predictor is measured on one of
            them, so that the mean over several draws costs what one predictor costs; without any nothing is measured.
        about: what report.json has of it beside its scores, such as what it has cost: JSON.
        members: keys of the members that are measured with their ensemble, where the problem can do that.
        with_members: makes what predicts `(1 + k, n, c)`, the ensemble's probabilities and then these members'.
        details: gives what report.json has under `details`, from everybody's results, by name; what several have under
            one name goes together.
        likeliest: the name of a competitor of the same likeliest answers, whose measures beside the score are then its
            own as well, and are not measured again.
        also: further competitors, by name, which have come of the same work.
        networks: the predictor, where it has members that were trained by themselves: these are compared and saved.
        spent: what its trainings have cost.
    """

    parts: Sequence[Callable[[], Predictor]] = ()
    about: Mapping[str, Any] = field(default_factory=dict)
    members: Sequence[str] = ()
    with_members: Callable[[], Predictor] | None = None
    details: Callable[[Mapping[str, Evaluation]], Mapping[str, Any]] = _no_details
    likeliest: str = ""
    also: Mapping[str, Fitted] = field(default_factory=dict)
    networks: Networks | None = None
    spent: Spent = field(default_factory=Spent)

    @classmethod
    def of(cls, networks: Networks, trained: Sequence[Trained]) -> Fitted:
        """Return a predictor of networks, and what all that were `trained` for it have cost."""
        spent = sum((one.spent for one in trained), Spent())
        about = {"networks": len(networks.weights), "spent": spent.to_json()}
        return cls([lambda: networks.predict], about, networks=networks, spent=spent)


class Method(ABC):
    """Makes a predictor that a run compares with its ensemble, on cases that nothing has seen.

    `report.methods` of a YAML names one of your own, as `my.py:Class`; it is made without arguments:

        class Pair(Method):
            name = "pair"

            def fit(self, evolved, folder, on_progress):
                return Fitted([lambda: evolved.ensemble(evolved.members[:2]).predict], {"size": 2})
    """

    name: str
    """Under which report.json has it: small letters, digits and `_`."""

    @abstractmethod
    def fit(self, evolved: Evolved, folder: Path, on_progress: OnProgress) -> Fitted:
        """Make what is compared; nothing of the test split may play a part in it.

        It is called again where an interrupted run goes on: what takes long is to be found in `folder` then.

        Args:
            evolved: what the run has found.
            folder: where the Method may keep files; it is its own, and not there yet.
            on_progress: is told how far a training has come.
        """


class Baseline(Method):
    """A Method that needs no evolution: it trains its networks itself, by the same budget as everybody.

    It stands in a table of `python -m evoens compare`, under `methods:`, and among the `report.methods` of a run.
    Arguments of `__init__`, which all have defaults, are keys of its row there:

        class Pair(Baseline):
            name = "pair"

            def fit(self, setting, folder, on_progress):
                two = [setting.train(on_progress, i, epochs=setting.epochs // 2) for i in range(2)]
                return Fitted.of(setting.networks([one.weights for one in two]), two)
    """

    def require(self, epochs: int) -> None:
        """Find out, before anything is trained, whether the budget can be spent as the arguments say.

        Raises:
            SpecError: it cannot.
        """

    @abstractmethod
    def fit(self, setting: Setting, folder: Path, on_progress: OnProgress) -> Fitted:
        """Train, and return what is compared; see `Method.fit`."""
