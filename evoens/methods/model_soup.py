"""Model soups: one network, the mean of several that were trained on from the same weights (Wortsman et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evoens.errors import SpecError
from evoens.methods.base import Baseline, Fitted
from evoens.methods.setting import Setting, fraction, whole
from evoens.problem import drive
from evoens.progress import OnProgress
from evoens.tasks.lesson import Trained


class ModelSoup(Baseline):
    """A shared training, then several of other orders of the examples, whose weights are averaged.

    Args:
        members: how many are trained on.
        shared: the share of the budget that the shared training has.
        greedy: whether only those are averaged, the best first, with which the score on the select split is no lower.
    """

    name = "model_soup"

    def __init__(self, members: int = 4, shared: float = 0.5, greedy: bool = False) -> None:
        self.members, self.shared, self.greedy = whole("members", members, 2), fraction("shared", shared), greedy

    def require(self, epochs: int) -> None:
        """See `Baseline.require`."""
        self._epochs(epochs)

    def _epochs(self, epochs: int) -> tuple[int, int]:
        """Those of the shared training, and of each that goes on from there."""
        rest = epochs - round(self.shared * epochs)
        each = rest // self.members
        if not each or each * self.members == epochs:
            found = f"{rest} for {self.members} members"
            raise SpecError(f"shared: expected it and every member to have an epoch of {epochs}, found {found}")
        return epochs - each * self.members, each

    def fit(self, setting: Setting, folder: Path, on_progress: OnProgress) -> Fitted:
        """See `Baseline.fit`."""
        first, each = self._epochs(setting.epochs)
        start = setting.train(on_progress, epochs=first)
        further = [
            setting.train(on_progress, number + 1, epochs=each, start=start.weights) for number in range(self.members)
        ]
        chosen, tasted = self._greedy(setting, further) if self.greedy else (further, [])
        soup = setting.trainer.averaged([one.weights for one in chosen])
        return Fitted.of(setting.networks([soup.weights]), [start, *further, *tasted, soup])

    def _greedy(self, setting: Setting, further: Sequence[Trained]) -> tuple[list[Trained], list[Trained]]:
        """The ingredients of the greedy soup (their algorithm 1), and all soups that were made to find them."""
        best, *others = sorted(further, key=lambda one: -_score(setting, one))
        chosen, reached, tasted = [best], _score(setting, best), list[Trained]()
        for one in others:
            soup = setting.trainer.averaged([own.weights for own in (*chosen, one)])
            tasted.append(soup)
            if (score := _score(setting, soup)) >= reached:
                chosen, reached = [*chosen, one], score
        return chosen, tasted


def _score(setting: Setting, one: Trained) -> float:
    """What a network scores on the select split."""
    problem = setting.problem
    return drive(problem.cases(problem.split("select")), setting.networks([one.weights]).predict).score
