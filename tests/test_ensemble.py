"""The ensemble: the mean of its members, and a folder that rebuilds it to the bit or says why not."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from tiny import MLP, TinyProblem
from torch import Tensor, nn

from evoens.children import child_weights
from evoens.ensemble import Ensemble, description_sha256, load_ensemble
from evoens.errors import CheckpointError, EvoensError, ShapeError
from evoens.genome import Genome
from evoens.parent import Architecture, Parent
from evoens.plugins.spec import load_class, locate
from evoens.scoring.combine import majority_vote
from evoens.strategy import Strategy

ARGUMENTS = {"sigma": 0.1, "density": 0.5, "parts": 2}


@pytest.fixture
def ensemble(tiny_problem: TinyProblem) -> Ensemble:
    strategy = load_class(locate("noisy"), Strategy)(**ARGUMENTS)
    return Ensemble(tiny_problem.parent, strategy, strategy.ask(4, Random(0)))


@pytest.fixture
def saved(ensemble: Ensemble, tmp_path: Path) -> Path:
    ensemble.save(tmp_path / "ensemble", locate("noisy"), ARGUMENTS, {"unit": "accuracy"})
    return tmp_path / "ensemble"


def test_prediction_is_the_mean_of_members_computed_one_by_one(ensemble: Ensemble, tiny_problem: TinyProblem) -> None:
    inputs = tiny_problem.probe(20)
    by_hand = torch.zeros(20, 3, dtype=torch.float64)
    for genome in ensemble.genomes:
        weights = {**ensemble.parent.weights, **child_weights(ensemble.parent, ensemble.strategy, genome)}
        hidden = torch.relu(inputs.double() @ weights["first.weight"].double().T + weights["first.bias"].double())
        logits = hidden @ weights["last.weight"].double().T + weights["last.bias"].double()
        by_hand += logits.softmax(-1) / 4
    torch.testing.assert_close(ensemble.predict(inputs).double(), by_hand, atol=1e-6, rtol=1e-5)


def test_what_members_share_is_computed_once(tiny_problem: TinyProblem, monkeypatch: pytest.MonkeyPatch) -> None:
    strategy = load_class(locate("noisy"), Strategy)(**ARGUMENTS)
    strategy = strategy.within(scope=("last",))
    passes: dict[int, int] = {}
    plain = nn.Linear.forward

    def counted(self: nn.Linear, x: Tensor) -> Tensor:
        passes[self.out_features] = passes.get(self.out_features, 0) + 1
        return plain(self, x)

    monkeypatch.setattr(nn.Linear, "forward", counted)
    parent, inputs = tiny_problem.parent, tiny_problem.probe(20)
    ensemble = Ensemble(parent, strategy, strategy.ask(4, Random(0)))
    ensemble.outputs(inputs[:1])  # proves once what members may share
    passes.clear()
    found = ensemble.outputs(inputs)
    hidden, classes = len(parent.weights["first.bias"]), len(parent.weights["last.bias"])
    assert passes == {hidden: 1, classes: 4}
    alone = [parent.child(child_weights(parent, strategy, genome)).predict(inputs) for genome in ensemble.genomes]
    assert torch.equal(found, torch.stack(alone))


def test_no_member_no_ensemble(ensemble: Ensemble) -> None:
    with pytest.raises(CheckpointError, match="at least one member"):
        Ensemble(ensemble.parent, ensemble.strategy, [])


def test_loaded_predicts_the_same_bits(ensemble: Ensemble, saved: Path, tiny_problem: TinyProblem) -> None:
    loaded = load_ensemble(saved, trust=True)
    assert loaded.genomes == ensemble.genomes
    assert torch.equal(loaded.predict(tiny_problem.probe(30)), ensemble.predict(tiny_problem.probe(30)))


def test_a_run_folder_names_its_ensemble(saved: Path) -> None:
    assert len(load_ensemble(saved.parent, trust=True).genomes) == 4


def test_an_own_strategy_file_travels_with_the_ensemble(tiny_problem: TinyProblem, tmp_path: Path) -> None:
    source = tmp_path / "mine.py"
    source.write_text(
        "from evoens.strategy import Strategy\n"
        "class Shrink(Strategy):\n"
        "    def perturb(self, name, weight, gene):\n"
        "        return weight * (1 - gene.scale)\n"
    )
    located = locate("mine.py:Shrink", [tmp_path])
    strategy = load_class(located, Strategy)(sigma=0.25)
    Ensemble(tiny_problem.parent, strategy, strategy.ask(1, Random(0))).save(
        tmp_path / "e", located, {"sigma": 0.25}, {}
    )
    source.unlink()
    loaded = load_ensemble(tmp_path / "e", trust=True)
    weights = child_weights(loaded.parent, loaded.strategy, loaded.genomes[0])
    assert torch.equal(weights["last.weight"], tiny_problem.parent.weights["last.weight"] * 0.75)


@pytest.mark.parametrize("name", ["parent.safetensors", "genomes.json"])
def test_a_flipped_bit_is_found(saved: Path, name: str) -> None:
    data = bytearray((saved / name).read_bytes())
    place = data.index(b'"seed":') + 9 if name == "genomes.json" else len(data) - 5
    data[place] = ord("7") if data[place] != ord("7") else ord("8")
    (saved / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=r"has changed|damage"):
        load_ensemble(saved, trust=True)


def test_a_member_that_does_not_come_out_the_same_is_refused(saved: Path) -> None:
    document = json.loads((saved / "genomes.json").read_text())
    genome = Genome.from_json(document["members"][0]["genome"])
    document["members"][1] |= {"genome": genome.to_json(), "key": genome.key}
    (saved / "genomes.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError, match=f"member {genome.key[:12]} has changed"):
        load_ensemble(saved, trust=True)


@pytest.mark.parametrize("name", ["parent.safetensors", "genomes.json"])
def test_a_missing_file_is_named(saved: Path, name: str) -> None:
    (saved / name).unlink()
    with pytest.raises(CheckpointError, match=name):
        load_ensemble(saved, trust=True)


def test_a_member_that_was_chosen_twice_counts_twice_and_is_computed_once(tiny_problem: TinyProblem) -> None:
    strategy, inputs = load_class(locate("noisy"), Strategy)(**ARGUMENTS), tiny_problem.inputs[:9]
    a, b = strategy.ask(2, Random(4))
    one, other = (Ensemble(tiny_problem.parent, strategy, [genome]).predict(inputs) for genome in (a, b))
    twice = Ensemble(tiny_problem.parent, strategy, [a, b, a])
    assert len(twice.outputs(inputs)) == 3 and len(twice._members) == 2
    torch.testing.assert_close(twice.predict(inputs), (2 * one + other) / 3)


def test_the_rule_goes_with_the_ensemble(tiny_problem: TinyProblem, tmp_path: Path) -> None:
    strategy, inputs = load_class(locate("noisy"), Strategy)(**ARGUMENTS), tiny_problem.inputs[:9]
    ensemble = Ensemble(tiny_problem.parent, strategy, strategy.ask(3, Random(4)), rule="geometric-mean")
    logs = ensemble.outputs(inputs).double().log().mean(0)
    torch.testing.assert_close(ensemble.predict(inputs).double(), torch.softmax(logs, -1), rtol=1e-5, atol=1e-7)
    ensemble.save(tmp_path, locate("noisy"), ARGUMENTS, {})
    assert load_ensemble(tmp_path, trust=True).rule == "geometric-mean"
    assert torch.equal(load_ensemble(tmp_path, trust=True).predict(inputs), ensemble.predict(inputs))


def test_ties_are_drawn_by_the_seed_here_and_where_it_is_loaded(tiny_problem: TinyProblem, tmp_path: Path) -> None:
    strategy = load_class(locate("noisy"), Strategy)(sigma=2.0)
    members, inputs = strategy.ask(4, Random(0)), tiny_problem.inputs
    answers = []
    for seed in (0, 1):
        ensemble = Ensemble(tiny_problem.parent, strategy, members, rule="majority-vote", seed=seed)
        ensemble.save(tmp_path / str(seed), locate("noisy"), {"sigma": 2.0}, {})
        answers.append(ensemble.predict(inputs))
        assert torch.equal(load_ensemble(tmp_path / str(seed), trust=True).predict(inputs), answers[-1])
        assert torch.equal(majority_vote(ensemble.outputs(inputs), seed), answers[-1])
    assert not torch.equal(*answers)


def test_modules_have_gradients_by_weights_and_by_inputs(ensemble: Ensemble, tiny_problem: TinyProblem) -> None:
    inputs, member = tiny_problem.probe(5).clone().requires_grad_(), ensemble.modules()[1]
    labels = torch.tensor([0, 1, 2, 0, 1])
    nn.functional.cross_entropy(member(inputs), labels).backward()
    with torch.no_grad():  # by hand: the loss by a logit is its probability, less 1 for the label, a fifth of each
        slope = (ensemble.outputs(inputs.detach())[1] - nn.functional.one_hot(labels, 3)) / 5
        weights = dict(member.named_parameters())
        hidden = torch.relu(inputs @ weights["first.weight"].T + weights["first.bias"])
        back = (slope @ weights["last.weight"]) * (hidden > 0)
    torch.testing.assert_close(weights["last.weight"].grad, slope.T @ hidden)
    torch.testing.assert_close(weights["first.bias"].grad, back.sum(0))
    torch.testing.assert_close(inputs.grad, back @ weights["first.weight"])
    assert not any(weight.requires_grad for weight in ensemble.parent.weights.values())


class Graded(MLP):
    """Makes a tensor of its own when it predicts."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x * torch.linspace(0.5, 1, x.shape[1]))


def test_predictions_are_the_same_whatever_defaults_the_caller_has_set(tiny_problem: TinyProblem) -> None:
    parent = Parent.from_weights(Architecture(f"{__name__}:Graded"), tiny_problem.parent.weights)
    strategy, inputs = load_class(locate("noisy"), Strategy)(**ARGUMENTS), tiny_problem.probe(20)
    strategy = strategy.within(scope=("last",))  # so that the members share a part, which is proved
    before, after = (Ensemble(parent, strategy, strategy.ask(4, Random(0))) for _ in range(2))
    expected = before.predict(inputs)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    try:
        found, members = after.predict(inputs), after.modules()
        assert (torch.get_default_dtype(), torch.get_default_device().type) == (torch.float64, "meta")
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_default_device(None)
    assert torch.equal(found, expected)
    by_hand = torch.stack([member(inputs).softmax(-1) for member in members]).mean(0)
    torch.testing.assert_close(found, by_hand)


def test_a_device_that_is_not_here_is_one_sentence(ensemble: Ensemble) -> None:
    for device in ("cuda:77", "mps:5", "gpu"):
        with pytest.raises(EvoensError, match=f'^device: expected one that is here, such as "cpu", found "{device}": '):
            Ensemble(ensemble.parent, ensemble.strategy, ensemble.genomes, device)


def test_inputs_that_the_network_does_not_take_are_one_sentence(ensemble: Ensemble, tiny_problem: TinyProblem) -> None:
    inputs = tiny_problem.probe(4)
    start = "inputs: expected those that the network takes, found shape"
    wrong = {
        f"{start} (4, 3) of float32: ": inputs[:, :3],
        f"{start} (4, {inputs.shape[1]}) of float64: ": inputs.double(),
        f"{start} (4, {inputs.shape[1]}) of uint8: ": inputs.to(torch.uint8),
        "inputs: expected a torch.Tensor, found numpy.ndarray; torch.from_numpy(inputs) makes": inputs.numpy(),
        "inputs: expected a torch.Tensor, found builtins.list": inputs.tolist(),
    }
    for sentence, one in wrong.items():
        with pytest.raises(ShapeError) as caught:
            ensemble.predict(one)
        assert str(caught.value).startswith(sentence) and "\n" not in str(caught.value)


def classifier(tiny_problem: TinyProblem) -> Ensemble:
    strategy = load_class(locate("noisy"), Strategy)(**ARGUMENTS)
    return Ensemble(tiny_problem.parent, strategy, strategy.ask(3, Random(0)), temperature=1.75)


def test_calibrated_probabilities_are_those_at_the_temperature_that_was_saved(
    tiny_problem: TinyProblem, tmp_path: Path
) -> None:
    ensemble, inputs = classifier(tiny_problem), tiny_problem.probe(20)
    plain = ensemble.predict(inputs).double()
    by_hand = plain ** (1 / 1.75) / (plain ** (1 / 1.75)).sum(-1, keepdim=True)
    torch.testing.assert_close(ensemble.predict(inputs, calibrated=True), by_hand)
    ensemble.save(tmp_path, locate("noisy"), ARGUMENTS, {})
    loaded = load_ensemble(tmp_path, trust=True)
    assert torch.equal(loaded.predict(inputs, calibrated=True), ensemble.predict(inputs, calibrated=True))
    assert torch.equal(loaded.predict(inputs), ensemble.predict(inputs))
    text = (tmp_path / "genomes.json").read_text()
    (tmp_path / "genomes.json").write_text(text.replace('"temperature": 1.75', '"temperature": 1.5'))
    with pytest.raises(CheckpointError, match="the description has changed"):
        load_ensemble(tmp_path, trust=True)


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0}, {"temperature": ""}, {"temperature": True}, {"combine": 7}, {"combine": "best"},
              {"preprocessing": {"classes": 3}}, {"seed": "0"}]
)  # fmt: skip
def test_what_a_description_says_of_predictions_is_checked(
    tiny_problem: TinyProblem, tmp_path: Path, wrong: dict[str, Any]
) -> None:
    classifier(tiny_problem).save(tmp_path, locate("noisy"), ARGUMENTS, {})
    document = json.loads((tmp_path / "genomes.json").read_text()) | wrong
    document["sha256"] = description_sha256(document)
    (tmp_path / "genomes.json").write_text(json.dumps(document))
    with pytest.raises(CheckpointError):
        load_ensemble(tmp_path, trust=True)


def test_an_ensemble_of_before_has_neither_temperature_nor_preprocessing(
    saved: Path, tiny_problem: TinyProblem
) -> None:
    document = json.loads((saved / "genomes.json").read_text())
    del document["temperature"], document["preprocessing"]
    document["sha256"] = description_sha256(document)
    (saved / "genomes.json").write_text(json.dumps(document))
    ensemble, inputs = load_ensemble(saved, trust=True), tiny_problem.probe(5)
    assert ensemble.classes is None and ensemble.predict(inputs).shape == (5, 3)
    with pytest.raises(EvoensError, match=r"^calibrated: expected an ensemble that was saved with a temperature"):
        ensemble.predict(inputs, calibrated=True)
    with pytest.raises(EvoensError, match=r"^predict_images: expected a classifier's ensemble, saved with its prepro"):
        ensemble.predict_images(torch.zeros(1, 1, 8, 8, dtype=torch.uint8))


def test_a_full_answer_is_the_prediction_and_what_the_members_know(
    ensemble: Ensemble, tiny_problem: TinyProblem
) -> None:
    inputs = tiny_problem.probe(7)
    plain = ensemble.predict_full(inputs)
    assert torch.equal(plain.probabilities, ensemble.predict(inputs))
    ensemble.temperature = 2.0
    found = ensemble.predict_full(inputs)
    outputs = ensemble.outputs(inputs)
    assert torch.equal(found.members, outputs) and torch.equal(
        found.probabilities, ensemble.predict(inputs, calibrated=True)
    )
    own = [float((member.argmax(-1) == found.probabilities.argmax(-1)).double().mean()) for member in outputs]
    assert float(found.vote_share.mean()) == pytest.approx(sum(own) / 4) and (found.mutual_information >= 0).all()
    assert (plain.entropy < found.entropy).all()
