"""The settings of how children are measured: in which precision, for how long at most, in how much memory."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from evoens.settings.base import Section

Precision = Literal["float32", "bfloat16"]


class EvaluationSettings(Section):
    """How children are measured on the search and select splits.

    `precision` decides bits, and with them fitness and members: `float32`, or `bfloat16` where the processor or card
    computes in it, there about twice as quick (elsewhere many times slower). Ensembles are measured in float32.

    `timeout`, in seconds, ends a child that takes longer on one split (or one part of a race): it is a failed child,
    and stays one when the run goes on, since what was measured is written down. It is looked at between the passes of a
    child: one pass that never returns cannot be ended in this process; end the process, and a child in which it was
    ended twice is a failed one when the run goes on. What a clock ends may differ on another day.

    `memory`, in gigabytes, bounds what is kept for measuring: copies of the network, and what children share of a
    split. Null is 2, or a quarter of what the machine has where that is less. With room for fewer copies of a large
    network each has more threads, which may change the last bits.
    """

    precision: Precision = "float32"
    """In which children are measured; it decides bits, and with them fitness and members."""
    timeout: Annotated[float, Field(gt=0)] | None = None
    """The seconds after which a child's measurement is given up, and the child has failed; null is never."""
    memory: Annotated[float, Field(gt=0)] | None = None
    """The gigabytes that may be kept for measuring; null is 2, or a quarter of the machine's where that is less."""


DEFAULT = EvaluationSettings()
