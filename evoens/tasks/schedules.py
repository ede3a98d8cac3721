"""The learning rate and the momentum over a training, as functions of how much of it is done."""

from __future__ import annotations

import math
from bisect import bisect_right

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
