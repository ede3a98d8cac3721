"""What a user's code raises, in a child and elsewhere, beside a true Ctrl-C in the same place."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
import torch
from tiny import COUNT, TinyProblem
from tiny_run import Listener, config, experiment
from torch import Tensor

from evoens.errors import SpecError
from evoens.evaluation.evaluator import Evaluator, Plan
from evoens.experiment.run import Run
from evoens.genome import Gene, Genome
from evoens.parent import fingerprint
from evoens.plugins.guest import Interrupt, failure, guest, listening
from evoens.problem import Split
from evoens.report.listeners import standard
from evoens.strategy import Strategy, ask

SEARCH = Split("search", 0, COUNT)


class Ends(Strategy):
    """Its second child's weights end in whatever `end` raises, or with what it does to the weight."""

    end: Callable[[Tensor], Tensor]

    def perturb(self, name: str, weight: Tensor, gene: Gene) -> Tensor:
        return self.end(weight) if gene.seed == 1 else weight + gene.seed * 0.01


def outcomes(end: Callable[[Tensor], Tensor], plan: Plan | None = None) -> tuple[list[str | None], TinyProblem]:
    """Return the errors of three children, of which the second ends so."""
    problem, strategy = TinyProblem(), Ends(0.1)
    strategy.end = end
    evaluator = Evaluator(problem.parent, strategy, problem, plan or Plan())
    return [o.error for o in evaluator.evaluate([Genome((Gene(i, 0.1),)) for i in range(3)], SEARCH)], problem


def raising(error: BaseException) -> Callable[[Tensor], Tensor]:
    def end(weight: Tensor) -> Tensor:
        raise error

    return end


@pytest.fixture(autouse=True)
def _as_in_a_terminal() -> Iterator[None]:
    """Where the tests run in the background, Ctrl-C may be ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def heard() -> Iterator[None]:
    with listening():
        yield


@pytest.mark.usefixtures("heard")
@pytest.mark.parametrize("plan", [Plan(), Plan(children=2), Plan("vmap", children=3)])
@pytest.mark.parametrize(
    "error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), StopIteration(), ValueError("x")]
)
def test_whatever_a_child_raises_is_its_own_failure(error: BaseException, plan: Plan) -> None:
    errors, _ = outcomes(raising(error), plan)
    assert errors[0] is None and errors[2] is None
    assert errors[1] is not None and f"Ends.perturb('first.weight'): {type(error).__name__}" in errors[1]


@pytest.mark.usefixtures("heard")
def test_a_true_ctrl_c_in_a_child_is_the_users() -> None:
    def pressed(weight: Tensor) -> Tensor:
        signal.raise_signal(signal.SIGINT)
        return weight

    with pytest.raises(Interrupt):
        outcomes(pressed)


def test_where_nobody_can_tell_a_keyboard_interrupt_is_the_users() -> None:
    with pytest.raises(KeyboardInterrupt):
        outcomes(raising(KeyboardInterrupt()))
    with listening():
        assert isinstance(failure(KeyboardInterrupt(), "it"), SpecError)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_ctrl_c_that_means_nothing_stays_so() -> None:
    """As under nohup."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with listening():
            signal.raise_signal(signal.SIGINT)
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("width", [1, 2])
def test_a_network_that_ends_the_process_is_a_childs_failure(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    problem = TinyProblem()
    evaluator = Evaluator(problem.parent, Ends(0.1), problem, Plan(children=width))
    calls = iter([False, True] + [False] * 99)
    relu = torch.relu
    monkeypatch.setattr(torch, "relu", lambda x: sys.exit(0) if next(calls) else relu(x))
    errors = [o.error for o in evaluator.evaluate([Genome((Gene(i, 0.1),)) for i in (0, 2, 3)], SEARCH)]
    assert sorted(map(str, errors)) == ["None", "None", "SpecError: the network: SystemExit: 0"]


def test_the_rest_of_a_guest_fails_with_its_name() -> None:
    class Asks(Ends):
        def ask(self, n: int, rng: Random) -> list[Genome]:
            sys.exit(3)

    with pytest.raises(SpecError, match=r"^Asks.ask\(2\): SystemExit: 3$"):
        ask(Asks(0.1), 2, Random(0))
    with pytest.raises(SpecError, match=r"^own$"), guest("it"):
        raise SpecError("own")


# ---- what writes into the weight that it is given


WRITES: dict[str, Callable[[Tensor], Tensor]] = {
    "add_": lambda weight: weight.add_(1),
    "numpy": lambda weight: (weight.numpy().__iadd__(1), weight * 2)[1],
    "data": lambda weight: (weight.data.mul_(2), weight * 2)[1],
    "out": lambda weight: torch.add(weight, 1, out=weight),
    "view": lambda weight: (weight.view(-1)[3:4].zero_(), weight * 2)[1],
    "set": lambda weight: weight.t_(),
}


@pytest.mark.parametrize("how", WRITES)
def test_a_child_that_writes_into_its_parent_fails_and_the_parent_stays(how: str) -> None:
    whole = fingerprint(TinyProblem().parent.weights)
    errors, problem = outcomes(WRITES[how])
    assert errors[0] is None and errors[2] is None and "Ends.perturb('first.weight')" in str(errors[1])
    assert "in place" in str(errors[1])
    assert problem.parent.fingerprint == whole


def test_a_weight_may_be_returned_as_it_is() -> None:
    assert outcomes(lambda weight: weight)[0] == [None] * 3


def test_a_run_ends_where_the_parent_was_written_into_by_another_way(tmp_path: Path) -> None:
    (tmp_path / "spoils.py").write_text(
        "from evoens import Strategy\n\n\nclass Spoils(Strategy):\n"
        "    def perturb(self, name, weight, gene):\n        return weight + gene.scale\n\n"
        "    def tell(self, records):\n        self.parent.weights['last.weight'].numpy()[0, 0] += 1\n"
    )
    made = experiment(config(), spec=f"{tmp_path / 'spoils.py'}:Spoils")
    made = made.within(parent=made.problem.parent)
    with pytest.raises(SpecError, match="Spoils has written into the parent's weights, in place"):
        Run(made, tmp_path / "run", standard(Listener())).execute()
    assert not (tmp_path / "run" / "report.json").exists()


def test_where_ctrl_c_is_ignored_an_interrupt_is_the_guests() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(SpecError, match="it: KeyboardInterrupt"), guest("it"):
            raise KeyboardInterrupt
    finally:
        signal.signal(signal.SIGINT, before)
