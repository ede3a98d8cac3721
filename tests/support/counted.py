"""How often, and how many rows at a time, something is computed."""

from __future__ import annotations

from typing import Any

import pytest
from torch import Tensor


def rows_of(patch: pytest.MonkeyPatch, cls: type, name: str) -> list[int]:
    """Return the list that grows by the rows of the inputs of each call of the method `name` of `cls`."""
    seen: list[int] = []
    plain = getattr(cls, name)

    def counted(self: Any, inputs: Tensor) -> Any:
        seen.append(len(inputs))
        return plain(self, inputs)

    patch.setattr(cls, name, counted)
    return seen
