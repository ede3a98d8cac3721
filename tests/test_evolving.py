"""`evoens.evolve`: a module and tensors in, an ensemble out."""

import gc
import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

import evoens
from evoens import noise
from evoens.config.load import build, load
from evoens.contract.verify import folder_checks
from evoens.errors import CheckpointError, ConfigError, EvoensError, ProblemError, SpecError
from evoens.experiment.run import Run
from evoens.report.console import Reporter

SMALL: dict[str, Any] = {"population": 4, "size": 2, "random_draws": 2, "bootstrap": 100, "quiet": True}
SPLITS = ("search", "select", "test")


def network(inputs: int = 6) -> nn.Module:
    """Of a class that nobody can import."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(inputs, 16), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.relu(self.first(x)))

    model = Net()
    for name, weight in model.named_parameters():
        weight.data = noise.normals(7, name, weight.shape) * 0.5
    return model


def data(*shape: int, names: tuple[str, ...] = SPLITS) -> dict[str, tuple[Tensor, Tensor]]:
    inputs = {name: noise.normals(1, name, shape) for name in names}
    return {name: (x, (x.flatten(1)[:, :3] + 0.3 * x.flatten(1)[:, 1:4]).argmax(1)) for name, x in inputs.items()}


def test_an_ensemble_in_memory_is_the_mean_of_the_models_children() -> None:
    model, cases = network(), data(60, 6)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    ensemble = evoens.evolve(model, **cases, **SMALL, sigma=0.1)
    assert torch.equal(torch.get_rng_state(), state) and model.training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    x, y = cases["test"]
    outputs = []
    for genome in ensemble.genomes:
        own = dict(before)
        for gene in genome.genes:
            for name in ("first.weight", "last.weight"):
                step = noise.normals(gene.seed, name, own[name].shape) * (gene.sign * gene.scale)
                own[name] = torch.where(noise.keep(gene.mask, name, own[name].shape), own[name] + step, own[name])
        hidden = torch.relu(x @ own["first.weight"].T + own["first.bias"])
        outputs.append(torch.softmax(hidden @ own["last.weight"].T + own["last.bias"], -1))
    mean = torch.stack(outputs).mean(0)
    torch.testing.assert_close(ensemble.predict(x), mean)
    report = ensemble.report
    assert report is not None and len(outputs) == 2 == report["ensemble"]["size"]
    assert report["ensemble"]["test"]["score"] == pytest.approx((mean.argmax(-1) == y).double().mean().item())
    right = model(x).argmax(-1) == y
    assert report["parent"]["test"]["score"] == pytest.approx(right.double().mean().item())


@pytest.mark.usefixtures("same_plan")
@pytest.mark.parametrize(("scope", "share"), [({"scope": ["last"]}, 0.5), ({}, 1)])
def test_what_children_share_is_computed_once_and_changes_no_bit(
    scope: dict[str, Any], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, plain = list[int](), nn.Linear.forward

    def counted(self: nn.Linear, x: Tensor) -> Tensor:
        if self.out_features == 16:  # the layer before the one in which children differ
            seen.append(len(x))
        return plain(self, x)

    monkeypatch.setattr(nn.Linear, "forward", counted)
    asked, scores = {}, {}
    for memory in (1, 1e-9):
        seen.clear()
        settings = {**SMALL, "generations": 2, "sigma": 0.1, **scope}
        ensemble = evoens.evolve(network(), **data(60, 6), **settings, evaluation={"memory": memory})
        asked[memory], report = sum(seen), ensemble.report
        assert report is not None
        scores[memory] = [report[name] for name in ("parent", "best_child", "random_children", "ensemble")]
        scores[memory] += [report["candidates"], report["details"], ensemble.temperature]
    assert scores[1] == scores[1e-9]
    assert asked[1] <= share * asked[1e-9]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, evoens.Ensemble]:
    folder = tmp_path_factory.mktemp("evolved") / "run"
    return folder, evoens.evolve(network(), **data(60, 6), **SMALL, sigma=0.1, folder=folder)


def test_a_folder_keeps_all_and_goes_on(kept: tuple[Path, evoens.Ensemble]) -> None:
    folder, first = kept
    assert (folder / "report.html").is_file() and first.report == json.loads((folder / "report.json").read_text())
    page = unescape((folder / "report.html").read_text())
    assert f"load_ensemble('{folder}', model=model)" in page and "ensemble.predict(inputs, calibrated=True)" in page
    assert not [sentence for sentence in first.report["warnings"] if "left out" in sentence or "look at" in sentence]
    again = evoens.evolve(network(), **data(60, 6), **SMALL, sigma=0.1, folder=folder)
    assert again.genomes == first.genomes
    assert again.report is not None and again.report["ensemble"] == first.report["ensemble"]


def test_a_folder_of_something_else_is_refused(kept: tuple[Path, evoens.Ensemble]) -> None:
    folder, _ = kept
    with pytest.raises(CheckpointError, match=r"parent \(fingerprint\)"):
        evoens.evolve(nn.Linear(6, 3), **data(60, 6), **SMALL, sigma=0.1, folder=folder)
    with pytest.raises(CheckpointError, match="data"):
        evoens.evolve(network(), **data(50, 6), **SMALL, sigma=0.1, folder=folder)
    with pytest.raises(
        ConfigError, match=r"problem\.type: expected a type that a YAML can have, found a run of evoens\.evolve"
    ):
        load(folder / "config.resolved.yaml")
    with pytest.raises(CheckpointError, match="expected no such folder yet"):
        evoens.evolve(network(), **data(60, 6), **SMALL, folder=folder / "ensemble")


def test_what_is_saved_is_loaded_with_the_module(kept: tuple[Path, evoens.Ensemble]) -> None:
    folder, ensemble = kept
    with pytest.raises(SpecError, match=r"expected the network, as in load_ensemble\(…, model=.*Net\(…\)\)"):
        evoens.load_ensemble(folder)
    other, inputs = network(), data(60, 6)["test"][0]
    nn.init.zeros_(other.last.weight)
    loaded = evoens.load_ensemble(folder, model=other)
    assert torch.equal(loaded.predict(inputs), ensemble.predict(inputs))
    assert loaded.report == json.loads((folder / "report.json").read_text())
    with pytest.raises(EvoensError, match=r"first\.weight"):
        evoens.load_ensemble(folder, model=network(5))
    for trust in (False, True):
        checks = folder_checks(folder, trust)
        assert all(check.ok for check in checks) and any("load_ensemble(…, model=…) does" in c.detail for c in checks)


def test_arrays_and_datasets_are_the_same_cases() -> None:
    cases, told = data(60, 6), []
    as_arrays = {name: (x.double().numpy(), y.to(torch.int32).numpy()) for name, (x, y) in cases.items()}
    as_sets = {name: TensorDataset(x, y) for name, (x, y) in cases.items()}
    for given in (cases, as_arrays, as_sets):
        told.append(evoens.evolve(network(), **given, **SMALL, sigma=0.1).report)
    assert told[0]["ensemble"] == told[1]["ensemble"] == told[2]["ensemble"]


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(9, 8), nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.embedding(tokens).mean(1))


def test_inputs_of_any_shape_and_type() -> None:
    images = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 16, 3))
    assert evoens.evolve(images, **data(40, 2, 6, 6), **SMALL, sigma=0.1).predict(torch.zeros(5, 2, 6, 6)).shape == (
        5,
        3,
    )
    tokens = {name: (torch.arange(240).view(40, 6) * 7 % 9, y) for name, (_, y) in data(40, 6).items()}
    tokens = {name: (x.roll(place, 1) if place else x, y) for place, (name, (x, y)) in enumerate(tokens.items())}
    assert evoens.evolve(Tokens(), **tokens, **SMALL, sigma=0.1).predict(tokens["test"][0]).shape == (40, 3)


def test_children_are_trained_and_lie_somewhere_as_long_as_there_is_the_ensemble() -> None:
    cases = data(60, 6, names=("train", *SPLITS))
    tune = {"epochs": 2, "batch": 16, "optimiser": "sgd", "learning_rate": 0.1}
    ensemble = evoens.evolve(network(), **cases, **SMALL, strategy="sparse", tune=tune)
    assert ensemble.tuned is not None
    folder = ensemble.tuned.folder
    assert folder.is_dir() and ensemble.report["artifact"]["tuned"] == 2
    gene_of, module = ensemble.genomes[0].genes[0], ensemble.modules()[0]
    assert (module.first.weight == 0).float().mean() == pytest.approx(1 - gene_of.mask.density, abs=0.2)
    assert F.cross_entropy(module(cases["train"][0]), cases["train"][1]) < F.cross_entropy(
        network()(cases["train"][0]), cases["train"][1]
    )
    del ensemble
    gc.collect()
    assert not folder.exists()


def test_inputs_in_two_splits_are_said() -> None:
    cases = data(60, 6)
    cases["test"] = (
        torch.cat([cases["test"][0], cases["select"][0][:4]]),
        torch.cat([cases["test"][1], cases["select"][1][:4]]),
    )
    report = evoens.evolve(network(), **cases, **SMALL, sigma=0.1).report
    assert "inputs that are in another split too: 4 of test" in report["warnings"]


def test_a_parametrised_model_stays_as_it_is() -> None:
    model, cases = network(), data(60, 6)
    nn.utils.parametrizations.weight_norm(model.first)
    nn.utils.parametrizations.spectral_norm(model.last)
    model.eval()
    before = model(cases["test"][0])
    report = evoens.evolve(model, **cases, **SMALL, sigma=0.1).report
    assert report is not None and torch.equal(model(cases["test"][0]), before)
    right = before.argmax(-1) == cases["test"][1]
    assert report["parent"]["test"]["score"] == pytest.approx(right.double().mean().item())


def test_lists_are_taken_as_a_yaml_has_them() -> None:
    strategy = {"class": "noisy", "scope": ["last"], "sigma": "auto"}
    ensemble = evoens.evolve(network(), **data(60, 6), **SMALL, strategy=strategy, grid=[0.05, 0.1])
    assert {gene.scope for genome in ensemble.genomes for gene in genome.genes} == {("last",)}


WRONG: list[tuple[dict[str, Any], type[EvoensError], str]] = [
    (
        {"populatoin": 8},
        ConfigError,
        "populatoin=: expected a setting of a YAML, found none of this name; did you mean",
    ),
    ({"population": 0}, ConfigError, "population=: expected an integer ≥ 1 and ≤ 1000000, found 0"),
    ({"diversity_by": "kl"}, ConfigError, "diversity_by=: expected one of search.diversity_by, selection.diversity_by"),
    ({"strategy": "nosy"}, SpecError, 'did you mean "noisy"?'),
    ({"strategy": nn.Linear}, ConfigError, "strategy=: expected what a YAML can hold, found type"),
    ({"tune": {"epochs": 1}}, ConfigError, "tune=: expected train=, which children learn from, found none"),
    ({"test": torch.zeros(4, 6)}, ProblemError, "test=: expected a pair of tensors"),
    ({"test": (torch.zeros(4, 6), torch.zeros(4))}, ProblemError, "test=: expected a class, an integer, for each"),
    ({"test": (torch.zeros(4, 6), torch.zeros(3).long())}, ProblemError, "found inputs of shape (4, 6) and 3 classes"),
    ({"test": (torch.zeros(2, 6), torch.tensor([1, 3]))}, ProblemError, "test: expected classes from 0 to 2"),
    ({"search": (torch.zeros(2, 7), torch.tensor([1, 2]))}, ProblemError, "(n, 7), found float32 of shape (n, 6)"),
    ({"test": (torch.zeros(2, 6).byte(), torch.tensor([1, 2]))}, ProblemError, "test=: expected inputs as those of"),
    ({"test": (torch.tensor([[0.0] * 6, [torch.nan] * 6]), torch.tensor([1, 2]))}, ProblemError, "in input 1"),
    ({"model": "resnet"}, SpecError, "model=: expected a torch.nn.Module, found str"),
    ({"problem.type": "procgen"}, ConfigError, "problem.type=: expected a setting of a YAML, found none"),
]


@pytest.mark.parametrize(("given", "kind", "says"), WRONG, ids=[str(sorted(given)[0]) for given, *_ in WRONG])
def test_what_is_wrong_is_one_line(given: dict[str, Any], kind: type[EvoensError], says: str) -> None:
    with pytest.raises(kind) as caught:
        evoens.evolve(**{"model": network(), **data(20, 6), **SMALL, **given})
    assert says in str(caught.value)


def test_all_wrong_keywords_are_said_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        evoens.evolve(network(), **data(20, 6), populatoin=8, sigma="big", **{"search.elites": -1})
    assert [line.partition("=:")[0] for line in str(caught.value).splitlines()] == [
        "populatoin",
        "sigma",
        "search.elites",
    ]


def test_a_yaml_of_the_same_finds_the_same(tmp_path: Path) -> None:
    settings = ("search.population=4", "search.generations=1", "selection.size=2", "report.bootstrap=100")
    loaded = load("digits_noisy", settings)
    experiment = build(loaded, tmp_path / "yaml", Reporter(quiet=True)).experiment
    Run(experiment, tmp_path / "yaml").execute()
    problem: Any = experiment.problem
    cases = {name: (problem.normalise(s.all()), s.labels) for name in SPLITS if (s := problem.data.splits[name])}
    ensemble = evoens.evolve(
        problem.parent.module, **cases, population=4, generations=1, size=2, bootstrap=100, quiet=True
    )
    report = json.loads((tmp_path / "yaml" / "report.json").read_text())
    assert ensemble.report is not None
    for name in ("sigma", "candidates", "parent", "ensemble"):
        assert ensemble.report[name] == report[name]
