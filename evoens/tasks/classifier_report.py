"""What the report has of a classifier: measures as they are and after temperature scaling, and the words on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import product
from typing import Any

import torch
from torch import Tensor

from evoens.problem import Evaluation, Measure
from evoens.scoring import calibration, conformal, selective
from evoens.scoring.metrics import Statistic, balanced_of, ece_of
from evoens.scoring.text import interval, number
from evoens.settings.classification import Fitness
from evoens.tasks.corrupted import accuracy_of, nll_of
from evoens.tasks.corrupted import ece_of as corrupted_ece_of

DIGITS = 4  # decimals worth showing
UNEQUAL = 1.5  # so many times the images of the smallest class has the largest before accuracy is balanced too
SHOWN = ("parent", "ensemble")
SETS = "conformal"  # before the names of rows on sets
COVERAGES = 0.9, 0.95
RISK = 0.05  # of being wrong, at which is told how many cases can be answered
_NLL, _ECE = "NLL, nats", "ECE"
_ACCURACY = Measure("accuracy", "accuracy", "accuracy", digits=DIGITS)
_LIKELIHOOD = Measure("log-likelihood", "log-likelihood", "log-likelihood, nats", digits=DIGITS)
_BESIDE = (
    Measure("nll", "NLL", _NLL, higher_is_better=False, digits=DIGITS),
    Measure("calibrated_nll", "NLL, calibrated", _NLL, higher_is_better=False, digits=DIGITS),
    Measure("ece", "ECE", _ECE, higher_is_better=False, digits=DIGITS, statistic=ece_of),
    Measure("calibrated_ece", "ECE, calibrated", _ECE, higher_is_better=False, digits=DIGITS, statistic=ece_of),
)
CORRUPTED = (
    Measure("corrupted_accuracy", "cAcc", "accuracy when corrupted", True, 4, "corrupted", accuracy_of),
    Measure("corrupted_nll", "cNLL", "NLL when corrupted, nats", False, 4, "corrupted", nll_of),
    Measure("corrupted_ece", "cECE", "ECE when corrupted", False, 4, "corrupted", corrupted_ece_of),
)


def measures_of(score: Fitness, labels: Tensor) -> tuple[Measure, ...]:
    """Return what the verdict shows, the score first; balanced accuracy only where `labels` are of unequal classes."""
    own = (_ACCURACY,) if score == "accuracy" else (_LIKELIHOOD, _ACCURACY)
    counts = labels.bincount()
    counts = counts[counts > 0]
    unequal = len(counts) > 0 and counts.max() > UNEQUAL * counts.min()
    balanced = (_balanced(labels),) if unequal else ()
    return (*own, *balanced, *_BESIDE)


def _balanced(labels: Tensor) -> Measure:
    """The mean over classes of the share that is answered right; which answers are is a column of what ECE rests on."""

    def statistic(rows: Tensor) -> Statistic:
        return balanced_of(rows[:, 1], labels)

    return Measure("balanced_accuracy", "balanced accuracy", "accuracy", True, DIGITS, "ece", statistic)


def rows_of(outputs: Tensor, labels: Tensor, temperature: float) -> dict[str, Tensor]:
    """Return what the measures rest on of probabilities `(n, c)`, by name, and the temperature that was fitted."""
    tempered = calibration.tempered(outputs, temperature)
    return {
        "accuracy": calibration.correct(outputs, labels),
        "nll": calibration.nll(outputs, labels),
        "ece": _sure_and_right(outputs, labels),
        "calibrated_nll": calibration.nll(tempered, labels),
        "calibrated_ece": _sure_and_right(tempered, labels),
        "temperature": torch.full((len(labels),), temperature, dtype=torch.float64),
    }


def set_rows(outputs: Tensor, labels: Tensor, chosen_on: Tensor, chosen_labels: Tensor) -> dict[str, Tensor]:
    """Return of each case whether its conformal set holds its class, and how large it is, `(n, 2)` a kind of set.

    Sets are fitted to what the predictor says of the select split, `chosen_on`, and its labels.
    """
    found = {}
    for method, score in conformal.SCORES.items():
        known, own = score(chosen_on), score(outputs)
        for coverage in COVERAGES:
            within = own <= conformal.fitted(known, chosen_labels, coverage)
            held = within.gather(1, labels[:, None])[:, 0]
            found[f"{SETS} {method} {coverage:g}"] = torch.stack([held, within.sum(1)], dim=1).double()
    return found


def use_details(results: Mapping[str, Evaluation], labels: Tensor) -> dict[str, Any]:
    """Return what parent and ensemble are worth to who may get a set of classes, or no answer, by name.

    labels: of the test cases.
    """
    known = [who for who in SHOWN if any(name.startswith(SETS) for name in results[who].extra_metrics)]
    return {
        "sets": {who: _sets(results[who].extra_metrics, labels) for who in known},
        "selective": {who: _selective(results[who].extra_metrics["calibrated_ece"]) for who in SHOWN},
    }


def _sets(rows: Mapping[str, Tensor], labels: Tensor) -> list[dict[str, Any]]:
    found = []
    for method, coverage in product(conformal.SCORES, COVERAGES):
        held, size = rows[f"{SETS} {method} {coverage:g}"].T
        share, low, high = conformal.proportion(held)
        classes = [held[labels == c].mean().item() for c in labels.bincount().nonzero()[:, 0]]
        found.append(
            {
                "method": method,
                "asked": coverage,
                "covered": {"score": share, "ci95": [low, high], "n": len(held)},
                "least_class": min(classes),
                "size": size.mean().item(),
            }
        )
    return found


def _selective(rows: Tensor) -> dict[str, float]:
    sure, right = rows.T
    return {
        "aurc": selective.aurc(sure, right),
        "augrc": selective.augrc(sure, right),
        "coverage_at_risk": selective.coverage_at(sure, right, RISK),
        "risk": RISK,
    }


def calibration_details(results: Mapping[str, Evaluation]) -> dict[str, Any]:
    """Return how sure and how right parent and ensemble are, and each one's temperature, as far as that is known."""
    reliability = {
        title: {
            who: [asdict(row) for row in calibration.calibration_rows(*results[who].extra_metrics[rows].T)]
            for who in SHOWN
        }
        for title, rows in (("as it is", "ece"), ("tempered", "calibrated_ece"))
    }
    known = [who for who in SHOWN if "temperature" in results[who].extra_metrics]  # not in checkpoints of other days
    return {
        "reliability": reliability,
        "temperature": {who: results[who].extra_metrics["temperature"][0].item() for who in known},
    }


def remark_on(blocks: Mapping[str, Mapping[str, Any]]) -> str:
    """Say how the ensemble compares when both have had their temperature fitted: one number may do as much."""
    parent, ensemble = (blocks[name]["test_calibrated_nll"]["score"] for name in SHOWN)
    difference = blocks["ensemble"]["test_calibrated_nll_difference"]
    low, high = difference["ci95"]
    word = "better than" if high < 0 else "worse than" if low > 0 else "not to be told from"
    return (
        f"After temperature scaling of both, fitted on the select split, the ensemble's likelihood is {word} the "
        f"parent's: NLL {number(ensemble, DIGITS)} against {number(parent, DIGITS)}, difference "
        f"{interval(difference, DIGITS, '+')}."
    )


def _sure_and_right(outputs: Tensor, labels: Tensor) -> Tensor:
    """Confidence and correctness of each case, `(n, 2)`."""
    return torch.stack([calibration.confidence(outputs), calibration.correct(outputs, labels)], dim=1)
