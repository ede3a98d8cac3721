"""Parents that are hardly better than chance, or right in another order of the classes: what would explain it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from evoens.graph.flops import affordable
from evoens.parent import Parent
from evoens.tasks.data.images import Images, shuffled
from evoens.tasks.data.preprocessing import Normalise

FEW, MOST = 64, 300  # images: a parent that is right on nearly all of a few is not looked at further
FEWEST = 8  # of either, however large the network is
NORMALISATIONS = 5  # by which they are shown to a parent at chance: its own and the usual ones
EFFORT = 2e12  # floating-point operations of all that: half a minute of two cores
_GOOD = 0.9  # two of twenty classes that change places cost as much
BATCH = 50
SHOWN = 30  # classes in a message
_SURE = 3.0  # standard deviations by which another order must be better, on images that it was not found on
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

Numbers = NDArray[np.int64]


def cautions(parent: Parent, images: Images, normalise: Normalise, classes: Sequence[str]) -> Iterator[str]:
    """Yield what is to be said of a parent that answers no better than chance, or whose classes are in another order.

    Args:
        parent: is asked for at most `MOST` of the images, a large one for fewer, and again as other normalisations
            would show them.
        images: of the search split.
        normalise: how it is shown them.
        classes: their names, in the order of the labels.
    """
    count, least = _affordable(parent, images)
    few = images.spread(least)
    if (_answers(parent, few, normalise) == few.labels.numpy()).mean() >= _GOOD:
        return
    some = images.spread(count)
    right, answers = some.labels.numpy(), _answers(parent, some, normalise)
    order = better_order(answers, right, len(classes))
    low, accuracy = chance(right), float((answers == right).mean())
    if order is not None:
        turned = float((order[answers] == right).mean())
        shown = in_order([classes[place] for place in order])
        found = f"the parent is right on {accuracy:.3f} of {len(right)} images of the search split"
        yield f"{found}, and would be on {turned:.3f} with its classes in another order: {shown}"
    elif accuracy <= low:
        found = f"the parent is right on {accuracy:.3f} of {len(right)} images of the search split"
        yield f"{found}, as chance is (≤ {low:.3f}): {_explained(parent, some, normalise, low) or _UNEXPLAINED}"


def _affordable(parent: Parent, images: Images) -> tuple[int, int]:
    """Return how many images are looked at, and how many before it is known whether so many are to be."""
    pixels, _ = next(iter(images.spread(1).batches(1)))
    passes = affordable(EFFORT, parent.module, pixels.shape[1:], FEW + NORMALISATIONS * MOST)
    few = max(FEWEST, min(FEW, passes // 4))
    return max(FEWEST, min(MOST, (passes - few) // NORMALISATIONS)), few


_UNEXPLAINED = "do its weights, problem.classes and problem.normalise belong together?"


def in_order(names: Sequence[str]) -> str:
    """Return the line of a YAML that gives the classes in this order, as far as a message can hold it."""
    return f"`problem.classes: [{', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}]`"


def chance(right: Numbers) -> float:
    """Return up to which accuracy (97.5 %, binomial) one may get by always naming the most frequent class."""
    from scipy.stats import binom  # noqa: PLC0415 (slow to import)

    share = np.bincount(right).max() / len(right)
    return float(binom.ppf(0.975, len(right), share)) / len(right)


def better_order(answers: Numbers, right: Numbers, classes: int) -> Numbers | None:
    """Return which class each of the parent's is, `(classes,)`, where that is surely better than as they are.

    It is the assignment that makes most of one half of the answers right (Kuhn 1955), and tried on the other half.
    """
    from scipy.optimize import linear_sum_assignment  # noqa: PLC0415 (slow to import)

    def assigned(rows: Numbers) -> Numbers:
        """The best assignment on some of the images; classes of which nothing is known stay."""
        confusion = np.zeros((classes, classes))
        np.add.at(confusion, (answers[rows], right[rows]), 1)
        return np.asarray(linear_sum_assignment(confusion + 0.5 * np.eye(classes), maximize=True)[1], np.int64)

    mixed = shuffled(len(right), 0, 0).numpy()
    found, other = assigned(mixed[::2]), mixed[1::2]
    now, then = answers[other] == right[other], found[answers[other]] == right[other]
    won, lost = int((then & ~now).sum()), int((now & ~then).sum())
    return assigned(mixed) if won - lost > _SURE * np.sqrt(won + lost) else None


def _explained(parent: Parent, images: Images, normalise: Normalise, low: float) -> str | None:
    """Return which usual normalisation makes the parent better than chance, if one does."""
    channels = len(normalise.mean)
    usual = {
        "bytes, 0 to 255": ((0.0,) * channels, (1 / 255,) * channels),
        "numbers from 0 to 1": ((0.0,) * channels, (1.0,) * channels),
        "numbers from −1 to 1": ((0.5,) * channels, (0.5,) * channels),
        **({"ImageNet's mean and deviation": _IMAGENET} if channels == 3 else {}),
    }
    right = images.labels.numpy()
    reached = {
        name: float((_answers(parent, images, Normalise(*own, normalise.layout)) == right).mean())
        for name, own in usual.items()
    }
    best = max(reached, key=lambda name: reached[name])
    if reached[best] <= low:
        return None
    mean, std = ([float(f"{value:.8g}") for value in values] for values in usual[best])
    return f"with {best} it is on {reached[best]:.3f}: `problem.normalise: {{mean: {mean}, std: {std}}}`"


def _answers(parent: Parent, images: Images, normalise: Normalise) -> Numbers:
    """The class that the parent names for each image."""
    with torch.inference_mode():
        outputs = [parent.predict(normalise(pixels)).argmax(-1) for pixels, _ in images.batches(BATCH)]
    return np.asarray(torch.cat(outputs).cpu(), np.int64)
