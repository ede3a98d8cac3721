"""Image classification as a Problem, its figures beside those of torchmetrics, scikit-learn and SciPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_calibration_error

from evoens.errors import ProblemError
from evoens.parent import Architecture, Parent
from evoens.problem import Evaluation, Split, SplitName, drive
from evoens.scoring import calibration
from evoens.settings.classification import ClassificationSettings
from evoens.tasks.classification import ClassificationProblem
from evoens.tasks.data import preprocessing
from evoens.tasks.data.data import Data, open_data
from evoens.tasks.data.preprocessing import Normalise
from evoens.tasks.labelled import scores
from evoens.tasks.networks.mlp import MLP

CLASSES, SIDE = 4, 6
COUNTS = {"search": 31, "select": 50, "test": 43}


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey noise with a bright stripe where the class says; a tenth of the labels are wrong."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % CLASSES
    pixels = rng.integers(0, 150, (200, SIDE, SIDE), np.uint8)
    pixels[np.arange(200), labels] += 90
    labels[rng.random(200) < 0.1] = 0
    path = tmp_path_factory.mktemp("data") / "set.npz"
    np.savez(path, x=pixels, y=labels)
    return path


def settings(path: Path, **changes: Any) -> ClassificationSettings:
    splits = {"train": {"from": "train"}, **{name: {"from": "train", "count": n} for name, n in COUNTS.items()}}
    value = {"type": "classification", "data": str(path), "splits": splits, **changes}
    return ClassificationSettings.model_validate(value)


def opened(own: ClassificationSettings) -> Data:
    return open_data(own, None, 0, Path())


def parent(classes: int = CLASSES, features: int = SIDE * SIDE, sharpness: float = 1.0) -> Parent:
    """A network that looks at the stripes, and is too sure."""
    module = MLP(classes, features, [])
    with torch.no_grad():
        module.layers[0].bias.zero_()
        stripes = torch.zeros_like(module.layers[0].weight)
        for row in range(min(classes, CLASSES)):
            stripes[row, row * SIDE : (row + 1) * SIDE] = sharpness
        module.layers[0].weight.copy_(stripes)
    return Parent(module, Architecture("evoens.tasks.networks.mlp:MLP"))


@pytest.fixture
def make(npz: Path) -> Callable[..., ClassificationProblem]:
    def made(of: Parent | None = None, normalise: Normalise | None = None, **changes: Any) -> ClassificationProblem:
        own = settings(npz, **changes)
        return ClassificationProblem(own, of or parent(), opened(own), normalise)

    return made


def known(problem: ClassificationProblem, name: SplitName) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The parent's answers on a split, and its labels, without batches."""
    images = problem.data.splits[name]
    pixels = images.pixels[images.places].float() / 255
    inputs = (pixels - problem.normalise.mean[0]) / problem.normalise.std[0]
    with torch.no_grad():
        return torch.softmax(problem.parent.module(inputs).double(), 1).numpy(), images.labels.numpy()


def reported(problem: ClassificationProblem, split: Split | None = None) -> Evaluation:
    return drive(problem.reported(split or problem.split("test")), problem.parent.predict)


# ---- figures


def test_balanced_accuracy_stands_beside_accuracy_where_classes_are_of_unequal_sizes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(CLASSES), [110, 40, 30, 20])
    pixels = rng.integers(0, 150, (200, SIDE, SIDE), np.uint8)
    pixels[np.arange(200), labels] += 60
    np.savez(tmp_path / "rare.npz", x=pixels, y=labels)
    own = settings(tmp_path / "rare.npz")
    problem = ClassificationProblem(own, parent(), opened(own))
    assert [measure.key for measure in problem.measures[:3]] == ["test_accuracy", "test_balanced_accuracy", "test_nll"]
    measure, (outputs, own_labels) = problem.measures[1], known(problem, "test")
    found = measure.statistic(reported(problem).extra_metrics[measure.rows]).score
    assert found == pytest.approx(balanced_accuracy_score(own_labels, outputs.argmax(1)))
    assert abs(found - accuracy_score(own_labels, outputs.argmax(1))) > 0.01


def test_of_equal_classes_there_is_no_balanced_accuracy(make: Callable[..., ClassificationProblem]) -> None:
    assert [measure.key for measure in make(score="log-likelihood").measures[:3]] == [
        "test_log-likelihood",
        "test_accuracy",
        "test_nll",
    ]


@pytest.mark.parametrize("name", ["search", "select", "test"])
def test_the_score_is_accuracy(make: Callable[..., ClassificationProblem], name: SplitName) -> None:
    problem = make()
    found = problem.evaluate(problem.parent.predict, problem.split(name))
    outputs, labels = known(problem, name)
    assert found.score == pytest.approx(accuracy_score(labels, outputs.argmax(1)))
    assert 0.5 < found.score < 1
    assert found.cases.shape == (COUNTS[name],) and found.cases.dtype == torch.float64
    assert found.samples == COUNTS[name] and set(found.artifacts) == ({"outputs"} if name == "select" else set())


def test_the_score_may_be_the_likelihood(make: Callable[..., ClassificationProblem]) -> None:
    problem = make(score="log-likelihood")
    outputs, labels = known(problem, "test")
    expected = log_loss(labels, outputs, labels=range(CLASSES))
    assert problem.evaluate(problem.parent.predict, problem.split("test")).score == pytest.approx(-expected, rel=1e-5)
    assert [m.name for m in problem.measures][:2] == ["log-likelihood", "accuracy"]
    beside = reported(problem).extra_metrics
    assert float(beside["accuracy"].mean()) == pytest.approx(accuracy_score(labels, outputs.argmax(1)))
    assert problem.unit == "log-likelihood, nats"


def test_what_is_reported_beside_the_score(make: Callable[..., ClassificationProblem]) -> None:
    problem = make()
    outputs, labels = known(problem, "test")
    select, known_labels = known(problem, "select")

    def tempered(p: NDArray[np.float64], t: float) -> NDArray[np.float64]:
        powers = p ** (1 / t)
        return np.asarray(powers / powers.sum(1, keepdims=True))

    def loss(t: float) -> float:
        return float(log_loss(known_labels, tempered(select, t), labels=range(CLASSES)))

    fitted = minimize_scalar(loss, bounds=(0.1, 20), method="bounded", options={"xatol": 1e-9}).x
    assert fitted > 1.2  # it is too sure
    evaluation = reported(problem)
    plain = {name for name in evaluation.extra_metrics if not name.startswith("conformal")}
    assert plain == {"nll", "ece", "calibrated_nll", "calibrated_ece", "temperature"}
    assert evaluation.extra_metrics["temperature"].tolist() == pytest.approx([fitted] * COUNTS["test"], rel=1e-4)
    assert evaluation.samples == COUNTS["test"] + COUNTS["select"]
    assert evaluation.score == pytest.approx(accuracy_score(labels, outputs.argmax(1)))
    found = {m.name: m.statistic(evaluation.extra_metrics[m.name]) for m in problem.measures[1:]}
    values = {name: float(s.of(np.arange(s.n)[None])[0]) for name, s in found.items()}
    for prefix, probabilities in (("", outputs), ("calibrated_", tempered(outputs, fitted))):
        nll = log_loss(labels, probabilities, labels=range(CLASSES))
        assert values[f"{prefix}nll"] == pytest.approx(nll, rel=1e-4)
        ece = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(labels), CLASSES, n_bins=15)
        assert values[f"{prefix}ece"] == pytest.approx(float(ece), abs=1e-5)
    assert values["calibrated_nll"] < values["nll"]


@pytest.mark.parametrize("corruption", [None, {"kinds": ("contrast", "brightness"), "severities": (2,), "images": 20}])
def test_members_reported_with_their_ensemble_are_what_each_is_alone(
    make: Callable[..., ClassificationProblem], corruption: dict[str, Any] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evoens.tasks.corruption._SMALLEST", SIDE)  # these two kinds do with images of any size
    problem = make(corruption=corruption)
    sharper, split = parent(sharpness=2.0), problem.split("test")
    both = (problem.parent.predict, sharper.predict)

    def answers(inputs: torch.Tensor) -> torch.Tensor:
        members = torch.stack([predict(inputs) for predict in both])
        return torch.cat([members.mean(0)[None], members])

    found = drive(problem.reported_with_members(split), answers)
    alone = [lambda x: answers(x)[0], *both]
    for own, predict in zip((found, *found.members), alone, strict=True):
        expected = drive(problem.reported(split), predict)
        assert torch.equal(own.cases, expected.cases)
        rest = expected.extra_metrics.keys() - own.extra_metrics.keys()
        assert all(name.startswith("conformal") for name in rest) and (not rest or own is not found)
        assert all(torch.equal(rows, expected.extra_metrics[name]) for name, rows in own.extra_metrics.items())
        assert own.samples == (expected.samples if own is found else 0)  # one pass answers for all


def test_the_reliability_diagram_beside_scikit_learns(make: Callable[..., ClassificationProblem]) -> None:
    problem = make()
    evaluation = reported(problem)
    found = problem.details({"parent": evaluation, "ensemble": evaluation})["reliability"]
    outputs, labels = known(problem, "test")
    right, sure = calibration_curve(outputs.argmax(1) == labels, outputs.max(1), n_bins=15)
    bins = [row for row in found["as it is"]["parent"] if row["count"]]
    assert [row["accuracy"] for row in bins] == pytest.approx(right)
    assert [row["confidence"] for row in bins] == pytest.approx(sure, rel=1e-5)
    assert found["tempered"]["ensemble"] != found["as it is"]["ensemble"] == found["as it is"]["parent"]
    assert sum(row["count"] for row in found["tempered"]["parent"]) == COUNTS["test"]


def test_sets_hold_the_class_as_a_case_of_select_would_have_them(make: Callable[..., ClassificationProblem]) -> None:
    """Sets of 1 − p, worked out with NumPy: up to the ⌈(n + 1) 0.9⌉-th smallest score of the select split."""
    problem = make()
    evaluation = reported(problem)
    (select, known_labels), (outputs, labels) = known(problem, "select"), known(problem, "test")
    scores = np.sort(1 - select[np.arange(len(known_labels)), known_labels])
    within = 1 - outputs <= scores[int(np.ceil((len(scores) + 1) * 0.9)) - 1]
    details = problem.details({"parent": evaluation, "ensemble": evaluation})
    (found,) = [row for row in details["sets"]["parent"] if (row["method"], row["asked"]) == ("threshold", 0.9)]
    held = within[np.arange(len(labels)), labels]
    assert found["covered"]["score"] == pytest.approx(held.mean()) and found["size"] == pytest.approx(
        within.sum(1).mean()
    )
    assert found["least_class"] == pytest.approx(min(held[labels == c].mean() for c in np.unique(labels)))
    low, high = found["covered"]["ci95"]
    assert low < held.mean() < high or held.all()


def test_silence_is_told_of_the_tempered_confidence(make: Callable[..., ClassificationProblem]) -> None:
    problem = make()
    evaluation = reported(problem)
    found = problem.details({"parent": evaluation, "ensemble": evaluation})["selective"]["ensemble"]
    sure, right = evaluation.extra_metrics["calibrated_ece"].T.numpy()
    wrong = 1 - right[np.argsort(-sure, kind="stable")]
    counted = np.arange(1, len(wrong) + 1)
    assert found["aurc"] == pytest.approx(np.mean(wrong.cumsum() / counted))
    assert found["augrc"] == pytest.approx(np.mean(wrong.cumsum() / len(wrong)))
    assert found["coverage_at_risk"] == max(counted[wrong.cumsum() / counted <= 0.05], default=0) / len(wrong)


def test_measures_say_what_is_better(make: Callable[..., ClassificationProblem]) -> None:
    shown = {row["key"]: row for row in make().measure_schema()}
    assert list(shown) == ["test", "test_nll", "test_calibrated_nll", "test_ece", "test_calibrated_ece"]
    assert [row["higher_is_better"] for row in shown.values()] == [True, False, False, False, False]
    assert {row["digits"] for row in shown.values()} == {4}
    assert shown["test"]["unit"] == "accuracy" and shown["test_nll"]["unit"] == "NLL, nats"


@pytest.mark.parametrize(
    ("interval", "says"),
    [
        (
            (-0.3, -0.1),
            "likelihood is better than the parent's: NLL 0.3000 against 0.5000, difference −0.2000 [−0.3000",
        ),
        ((0.1, 0.3), "likelihood is worse than the parent's"),
        ((-0.1, 0.3), "likelihood is not to be told from the parent's"),
    ],
)
def test_the_verdicts_remark(
    make: Callable[..., ClassificationProblem], interval: tuple[float, float], says: str
) -> None:
    blocks: dict[str, dict[str, Any]] = {
        "parent": {"test_calibrated_nll": {"score": 0.5}},
        "ensemble": {
            "test_calibrated_nll": {"score": 0.3},
            "test_calibrated_nll_difference": {"score": -0.2, "ci95": list(interval)},
        },
    }
    assert says in make().verdict_note(blocks)


# ---- parts


@pytest.mark.parametrize("batch", [1, 7, 500])
def test_parts_in_any_batches_are_the_whole(
    make: Callable[..., ClassificationProblem], monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(preprocessing, "BATCH", batch)
    problem = make()
    whole = reported(problem)
    parts = [reported(problem, problem.split("test").part(first, 20)) for first in (0, 20, 40)]
    assert [len(part.cases) for part in parts] == [20, 20, 3]
    assert torch.equal(torch.cat([part.cases for part in parts]), whole.cases)
    for name, rows in whole.extra_metrics.items():
        torch.testing.assert_close(torch.cat([part.extra_metrics[name] for part in parts]), rows)


def test_inputs_are_normalised_pixels(make: Callable[..., ClassificationProblem]) -> None:
    problem = make(normalise=Normalise((0.25,), (0.5,)))
    assert torch.equal(problem.probe(5), problem.normalise(problem.pictures(5)))
    assert problem.pictures(5).dtype == torch.uint8 and problem.pictures(1000).shape == (31, 1, SIDE, SIDE)
    torch.testing.assert_close(problem.inputs_of(problem.pictures(5).float()), problem.probe(5))
    inputs = torch.cat(list(problem.batches(problem.split("test"))))
    images = problem.data.splits["test"]
    torch.testing.assert_close(inputs, (images.pixels[images.places] / 255 - 0.25) / 0.5)


def test_examples_are_of_the_test_split_with_their_classes(make: Callable[..., ClassificationProblem]) -> None:
    problem = make()
    test = problem.data.splits["test"]
    pictures, labels = problem.examples(1000)
    assert torch.equal(labels, test.labels) and torch.equal(pictures, test.take(torch.arange(COUNTS["test"])))
    some, own = problem.examples(3)
    places = torch.tensor([0, 21, 42])
    assert torch.equal(some, test.take(places)) and torch.equal(own, test.labels[places])


def test_the_record_names_every_image(make: Callable[..., ClassificationProblem], npz: Path) -> None:
    record = make(normalise=Normalise((0.25,), (0.5,))).record()
    assert record["normalise"] == {"mean": [0.25], "std": [0.5]} and record["classes"] == list("0123")
    places = {name: record["splits"][name]["indices"] for name in COUNTS}
    assert {name: len(found) for name, found in places.items()} == COUNTS
    assert len({place for found in places.values() for place in found}) == sum(COUNTS.values())
    assert make().describe("test") == {"from": "train", "count": 43}


# ---- the worth of members


def random_outputs(n: int, seed: int) -> Tensor:
    return torch.softmax(2 * torch.randn(n, CLASSES, generator=torch.Generator().manual_seed(seed)), 1)


def test_a_childs_likelihood_is_known_on_the_search_split(make: Callable[..., ClassificationProblem]) -> None:
    problem = make()
    outputs, labels = known(problem, "search")
    evaluation = problem.score_outputs(problem.split("search"), torch.as_tensor(outputs))
    assert evaluation.extra_metrics["nll"].tolist() == pytest.approx([log_loss(labels, outputs)])
    assert tuple(evaluation.extra_metrics) == problem.beside_the_score


@pytest.mark.parametrize("by", ["accuracy", "nll", "calibrated-nll"])
def test_members_are_judged_by_what_their_evaluations_kept(make: Callable[..., ClassificationProblem], by: str) -> None:
    problem = make(members_by=by)
    split = problem.split("select")
    labels = problem.data.splits["select"].labels
    outputs = [random_outputs(COUNTS["select"], seed) for seed in range(3)]
    evaluations = [problem.score_outputs(split, each) for each in outputs]
    judged = problem.judgement(evaluations)
    assert judged.outputs is not None and torch.equal(judged.outputs, torch.stack(outputs))
    mean = judged.outputs.mean(0)
    expected = {
        "accuracy": accuracy_score(labels, mean.argmax(1)),
        "nll": float(mean.double().log()[torch.arange(len(labels)), labels].mean()),
        "calibrated-nll": -calibration.calibrated_nll(mean, labels),
    }[by]
    assert judged.score(mean) == pytest.approx(expected, rel=1e-5)


def test_a_calibrated_score_does_not_mind_a_temperature() -> None:
    labels = torch.arange(40) % CLASSES
    outputs = 0.7 * random_outputs(40, 1) + 0.3 * torch.eye(CLASSES)[labels]
    cooler = calibration.tempered(outputs, 0.5)
    worth = scores(labels)
    assert worth["calibrated-nll"](cooler) == pytest.approx(worth["calibrated-nll"](outputs), rel=1e-6)
    assert worth["accuracy"](cooler) == worth["accuracy"](outputs)
    assert worth["nll"](cooler) != pytest.approx(worth["nll"](outputs), rel=1e-3)


# ---- parents that do not fit


class Fails(nn.Module):
    """Does with images whatever it is told to."""

    def __init__(self, what: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.what, self.layer = what, nn.Linear(1, 1)

    def forward(self, x: Tensor) -> Any:
        return self.what(x)


def strange(what: Callable[[Tensor], Any]) -> Parent:
    return Parent(Fails(what), Architecture(""))


def bare() -> Parent:
    return Parent(nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten()), Architecture(""))


def bad(x: Tensor) -> Tensor:
    raise IndexError("no such\nlayer")


TAKES = "the parent does not take images (1, 6, 6) (channels, height, width): "
LOGITS = "the parent: expected (2, 4) logits, images × classes, found "


@pytest.mark.parametrize(
    ("of", "says"),
    [
        (parent(classes=5), LOGITS + "(2, 5)"),
        (parent(features=7), TAKES),
        (strange(bad), TAKES + "IndexError: no such layer"),
        (strange(lambda x: (x.mean((2, 3)), 1)), LOGITS + "(2, 1)"),
        (strange(lambda x: x[0, 0, 0, :4]), LOGITS + "(4,)"),
        (
            strange(lambda x: torch.softmax(x[:, 0, 0, :4], 1)),
            "the parent: expected logits, found probabilities; leave the softmax at its end out",
        ),
        (bare(), "the parent: expected linear or convolutional layers, found none to perturb"),
    ],
    ids=["classes", "shape", "code", "tuple", "dimension", "probabilities", "layers"],
)
def test_a_parent_that_does_not_fit_is_refused(
    make: Callable[..., ClassificationProblem], of: Parent, says: str
) -> None:
    with pytest.raises(ProblemError) as caught:
        make(of)
    assert str(caught.value).startswith(says) and "\n" not in str(caught.value)


def test_logs_of_probabilities_are_logits_too(make: Callable[..., ClassificationProblem]) -> None:
    problem = make(strange(lambda x: torch.log_softmax(x[:, 0, 0, :4], 1)))
    inputs = problem.probe(3)
    torch.testing.assert_close(problem.parent.predict(inputs), torch.softmax(inputs[:, 0, 0, :4], 1))
