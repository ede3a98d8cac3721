from __future__ import annotations

from evoens.machine.threads import round_alike, sleep_at_barriers

sleep_at_barriers()  # before anything below imports torch
round_alike()

import signal
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings
from tiny import TinyProblem

from evoens.evaluation.plan import Plan

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background; Ctrl-C is to mean what it means to users
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("fixed", derandomize=True)  # the same examples everywhere, so that a failure is never luck
settings.load_profile("fixed")


@pytest.fixture(autouse=True)
def same_weights() -> None:
    """Draw the same untrained networks every time, so that a failure is never luck."""
    torch.manual_seed(0)


@pytest.fixture
def tiny_problem() -> TinyProblem:
    return TinyProblem()


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Let torch have one thread, so that bits and times do not depend on the machine's cores."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def same_plan(one_thread: None) -> Iterator[None]:
    """Evaluate by one plan: which is quickest is a matter of the moment, and decides the last bits of fitness."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("evoens.evaluation.evaluator.quickest", lambda *_: Plan())
        yield
