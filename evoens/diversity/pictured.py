"""The optional interface of problems whose inputs are pictures: what networks look at is then compared and drawn."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor, nn

from evoens.errors import ProblemError
from evoens.parent import LogitsFn


@runtime_checkable
class Pictured(Protocol):
    """A problem with pictures; a problem is one by having these methods. Of others only answers are compared."""

    def pictures(self, n: int = 8) -> Tensor:
        """Return `n` pictures of the search split, `(n, c, h, w)` of bytes, on which diversity is watched."""

    def examples(self, n: int) -> tuple[Tensor, Tensor | None]:
        """Return at most `n` pictures to compare networks on, `(n, c, h, w)` of bytes, and their right classes `(n,)`.

        They are of the test split where that has pictures with classes; else there are no classes, and they are those
        that diversity is watched on.
        """

    def inputs_of(self, frames: Tensor) -> Tensor:
        """Return pictures `(n, c, h, w)`, floats from 0 to 255, as a network takes them; gradients go through."""


def pictured(problem: object) -> Pictured:
    """Return a problem that has pictures.

    Raises:
        ProblemError: it has none.
    """
    if not isinstance(problem, Pictured):
        raise ProblemError("expected a problem with pictures, found one whose inputs cannot be looked at")
    return problem


def logits_fn(problem: Pictured, module: nn.Module) -> LogitsFn:
    """Let a network look at pictures."""
    return lambda frames: module(problem.inputs_of(frames))
