from __future__ import annotations

import pytest
from tiny import TinyProblem


@pytest.fixture
def tiny_problem() -> TinyProblem:
    return TinyProblem()
