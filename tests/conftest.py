from __future__ import annotations

from evoens.threads import sleep_at_barriers

sleep_at_barriers()  # before anything below imports torch

import pytest
from hypothesis import settings
from tiny import TinyProblem

settings.register_profile("fixed", derandomize=True)  # the same examples everywhere, so that a failure is never luck
settings.load_profile("fixed")


@pytest.fixture
def tiny_problem() -> TinyProblem:
    return TinyProblem()
