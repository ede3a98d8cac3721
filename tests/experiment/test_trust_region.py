"""The σ search against a curve whose answer is known."""

from __future__ import annotations

from random import Random

import pytest
import torch
from evoens_strategies.noisy import Noisy
from tiny import TinyProblem
from torch import Tensor, nn

from evoens.children import initial_weights
from evoens.evaluation.evaluator import Evaluator, Plan
from evoens.experiment.trust_region import BEYOND, Row, choose, divergence, kl_curve
from evoens.settings.config import TrustRegionSettings
from evoens.settings.evaluation import EvaluationSettings


def at(sigma: float) -> Row:
    return Row(sigma=sigma, kl=50 * sigma**2, kl_range=(0.0, 1.0), agreement=1.0)


def quadratic(grid: list[float]) -> list[Row]:
    return [at(sigma) for sigma in grid]


def test_between_grid_points_the_square_law_gives_the_exact_sigma() -> None:
    assert choose(quadratic([0.005, 0.01, 0.04, 0.08]), 0.02) == pytest.approx(0.02, rel=1e-3)


def test_a_target_beyond_the_grid_gives_its_end() -> None:
    assert choose(quadratic([0.001, 0.002]), 0.02) == 0.002
    assert choose(quadratic([0.1, 0.2]), 0.02) == 0.1


def test_a_dip_after_the_target_is_not_used() -> None:
    rows = quadratic([0.01, 0.03, 0.05])
    rows[2]["kl"] = 0.001
    assert 0.01 < choose(rows, 0.02) < 0.03


@pytest.mark.parametrize(
    ("grid", "curve"),
    [
        ((0.03, 0.01), [0.01, 0.03]),
        ((0.001, 0.003), [0.001, 0.003, 0.006, 0.012, 0.024]),
        ((0.1, 0.2), [0.0125, 0.025, 0.05, 0.1, 0.2]),
        ((0.05,), [0.0125, 0.025, 0.05]),
        ((1e-5,), [1e-5 * 2**i for i in range(BEYOND + 1)]),
    ],
)
def test_the_grid_goes_on_to_the_target_and_not_for_ever(grid: tuple[float, ...], curve: list[float]) -> None:
    told: list[int] = []
    rows = kl_curve(at, TrustRegionSettings(grid=grid), told.append)
    assert [row["sigma"] for row in rows] == pytest.approx(curve) and told == list(range(1, len(grid) + 1))
    if rows[-1]["kl"] > 0.02:
        assert choose(rows, 0.02) == pytest.approx(0.02, rel=1e-3)


def test_what_is_no_number_ends_the_curve() -> None:
    rows = kl_curve(lambda sigma: {**at(sigma), "kl": float("nan")}, TrustRegionSettings(grid=(0.1, 0.2)))
    assert len(rows) == 2


@pytest.mark.parametrize(("gigabytes", "passes"), [(None, 1), (1e-9, 5)])
def test_what_children_share_is_computed_once_for_all_sigma(
    tiny_problem: TinyProblem, monkeypatch: pytest.MonkeyPatch, gigabytes: float | None, passes: int
) -> None:
    strategy, parent, inputs = Noisy(sigma=1.0), tiny_problem.parent, tiny_problem.probe(20)
    strategy = strategy.within(scope=("last.weight",))
    settings = EvaluationSettings(memory=gigabytes)
    evaluator = Evaluator(parent, strategy, tiny_problem, Plan(), "cpu", settings=settings)
    measured = divergence(evaluator, strategy, inputs, TrustRegionSettings(children=3), seed=0)
    measured(0.3)  # proves what children may share
    seen, plain, hidden = list[int](), nn.Linear.forward, len(parent.weights["first.bias"])

    def counted(self: nn.Linear, x: Tensor) -> Tensor:
        if self.out_features == hidden:
            seen.append(len(x))
        return plain(self, x)

    monkeypatch.setattr(nn.Linear, "forward", counted)
    measured = divergence(evaluator, strategy, inputs, TrustRegionSettings(children=3), seed=0)
    rows = [measured(sigma) for sigma in (0.1, 0.2, 0.4, 0.8)]
    assert seen == [20] * passes  # for the parent, and for the children of each σ
    monkeypatch.undo()
    expected = parent.predict(inputs).double()
    for row in rows:
        strategy = strategy.within(sigma=row["sigma"])
        genomes = strategy.ask(3, Random("0:trust-region"))
        outputs = torch.stack(
            [parent.child(initial_weights(parent, strategy, g)).predict(inputs).double() for g in genomes]
        )
        assert row["kl"] == pytest.approx(float((expected * (expected / outputs).log()).sum(-1).mean()), rel=1e-6)
