"""The learning rate and the momentum over a training, as functions of how much of it is done."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_right
from dataclasses import dataclass

from evoens.settings.classification import TrainSettings


def rate(settings: TrainSettings, progress: float) -> float:
    """Return the learning rate when the share `progress`, 0 to 1, of all steps is done (see `TrainSettings`)."""
    peak, final = settings.learning_rate, settings.final_rate
    if settings.schedule == "step":
        return peak * settings.decay ** bisect_right(settings.milestones, progress)
    if settings.schedule == "linear":
        begins, ends = settings.milestones
        return _line(peak, final, min(1.0, max(0.0, (progress - begins) / max(ends - begins, 1e-12))))
    if settings.schedule == "cosine":
        return _half_cosine(peak, final, progress)
    if settings.schedule == "one-cycle":
        return _one_cycle(settings, settings.initial_rate, peak, final, progress)
    return peak


class Cycles(ABC):
    """A learning rate that goes up and down; a frozen dataclass, whose fields tell it from others."""

    @abstractmethod
    def rate(self, settings: TrainSettings, step: int, steps: int) -> float:
        """Return the learning rate of a step, from 0, of so many."""


@dataclass(frozen=True)
class CosineCycles(Cycles):
    """So many half cosines from `learning_rate` to 0, each begun anew (Huang et al. 2017, eq. 2)."""

    cycles: int

    def rate(self, settings: TrainSettings, step: int, steps: int) -> float:
        """See `Cycles.rate`: α₀/2 · (cos(π · ((t−1) mod ⌈T/M⌉) / ⌈T/M⌉) + 1), t from 1."""
        length = math.ceil(steps / self.cycles)
        return settings.learning_rate / 2 * (math.cos(math.pi * (step % length) / length) + 1)


@dataclass(frozen=True)
class TriangularCycles(Cycles):
    """The settings' schedule for `first` epochs, then lines from `high` to `low` and back in every `cycle` epochs.

    Fast Geometric Ensembling (Garipov et al. 2018, section 4): the rate is lowest in the middle of a cycle.
    """

    first: int
    cycle: int
    high: float
    low: float

    def rate(self, settings: TrainSettings, step: int, steps: int) -> float:
        """See `Cycles.rate`: (1−2t)·high + 2t·low to t = ½, then (2−2t)·low + (2t−1)·high; t = (step mod c + 1)/c."""
        epoch = steps // settings.epochs
        if step < self.first * epoch:
            return rate(settings, step / steps)
        length = self.cycle * epoch
        t = ((step - self.first * epoch) % length + 1) / length
        up = (1 - 2 * t) * self.high + 2 * t * self.low
        return up if t <= 0.5 else (2 - 2 * t) * self.low + (2 * t - 1) * self.high


@dataclass(frozen=True)
class ConstantTail(Cycles):
    """The settings' schedule for `first` epochs, then a constant rate, `tail` (Izmailov et al. 2018)."""

    first: int
    tail: float

    def rate(self, settings: TrainSettings, step: int, steps: int) -> float:
        """See `Cycles.rate`."""
        return rate(settings, step / steps) if step < self.first * (steps // settings.epochs) else self.tail


def momentum(settings: TrainSettings, progress: float) -> float:
    """Return SGD's momentum, or Adam's β₁: the same throughout, but in one cycle, where it moves against the rate."""
    if settings.schedule != "one-cycle":
        return settings.momentum
    high, low = settings.momentum, min(settings.momentum, settings.low_momentum)
    return _one_cycle(settings, high, low, high, progress)


def _one_cycle(settings: TrainSettings, start: float, middle: float, end: float, progress: float) -> float:
    """Half a cosine from `start` to `middle` over the warm-up, then half of one to `end` (dissertation 5.4, 5.5)."""
    if progress < settings.warmup:
        return _half_cosine(start, middle, progress / settings.warmup)
    return _half_cosine(middle, end, (progress - settings.warmup) / (1 - settings.warmup))


def _half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _line(start: float, end: float, share: float) -> float:
    return start + (end - start) * share
