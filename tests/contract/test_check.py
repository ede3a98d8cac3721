"""The contract holds for every strategy that ships, and each fault is caught by the clause made for it."""

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from evoens.contract.check import broken, check_strategy
from evoens.errors import Check, SpecError
from evoens.plugins.spec import load_class, locate, shipped_strategies
from evoens.strategy import Strategy

BROKEN = Path(__file__).parent / "broken"

# file -> the clauses that fail, and what must be said
FAULTS = {
    "does_not_import": (["imports"], "No module named 'no_such_package'"),
    "empty": (["imports"], "exactly one Strategy in the file, found none"),
    "not_a_strategy": (["imports"], "expected a subclass of Strategy"),
    "abstract": (["imports"], "does not define perturb"),
    "wants_more": (["constructs"], "with a default for all of its own"),
    "no_super": (["constructs"], "call super"),
    "dicts": (["ask: genomes"], "list of Genome"),
    "parents_only": (["ask: genomes"], "has no gene"),
    "too_few": (["ask: count"], r"ask\(1\) returned 0 genomes"),
    "repeats": (["ask: count"], "asked for twice"),
    "own_draws": (["ask: repeatable"], "draw from rng alone"),
    "wrong_shape": (["perturb: shape"], r"shape torch.Size\(\[8\]\), expected torch.Size\(\[8, 3, 3, 3\]\)"),
    "wrong_dtype": (["perturb: shape"], "dtype torch.float64, expected torch.float32"),
    "returns_none": (["perturb: shape"], "must return a tensor, found NoneType"),
    "raises": (["perturb: shape"], r"ValueError: too many values to unpack .*raises\.py:\d+"),
    "not_finite": (["perturb: finite"], "NaN or infinite"),
    "in_place": (["perturb: in place"], "changed the weight it was given"),
    "impure": (["perturb: pure"], "other bits for the same arguments"),
    "order": (["perturb: pure"], "depends on what was perturbed before"),
    "told": (["perturb: pure"], "tell changed what perturb returns"),
    "global_draw": (["perturb: pure", "perturb: global random state"], "depends on a global random state"),
    "global_seed": (["perturb: global random state"], "global state of torch"),
    "numpy_seed": (["perturb: global random state"], "global state of numpy.random"),
    "ignores_sign": (["perturb: gene"], "child 1 has the same weights as child 0"),
    "does_nothing": (["perturb: gene"], "child 0 has the same weights as the parent"),
    "same_noise_masked": (["perturb: names"], "of equal shape, get the same noise"),
    "sums": (["perturb: element-wise"], "a sum, mean, norm or product over a tensor"),
    "leaves_scope": (["ask: scope"], "8 of 8 genomes leave self.scope out"),
    "same_noise": (["perturb: names"], "of equal shape, get the same noise"),
    "keeps_floats": (["perturb: pure", "train_mask"], r"None or bools of shape \(8, 3, 3, 3\), found torch.float32"),
    "unsettled": (["train_mask"], "still changes after `mask_fixed_from`, 0.0"),
    "same_masks": (["train_mask"], "draw by the name and the seed"),
    "own_masks": (["perturb: pure", "train_mask"], "depends on a global random state"),
    "forgets": (["state"], "forgets something"),
    "unserialisable": (["state"], "Tensor is not JSON serializable"),
    "integer_keys": (["state"], "KeyError: 0"),
    "counts_on_all": (["failed children"], "expected 8 records"),
    "hashes": (["fresh process"], "perturb gives other bits in a fresh process"),
}


def failed(checks: list[Check]) -> list[str]:
    return [check.name for check in checks if not check.ok]


@pytest.mark.parametrize("name", shipped_strategies())
def test_every_shipped_strategy_keeps_the_contract(name: str) -> None:
    checks = check_strategy(name)
    assert failed(checks) == []
    assert checks[-1].name == "fresh process"
    assert not any("warning" in check.detail for check in checks)


def test_a_strategy_without_a_scale_and_one_without_masks_say_so() -> None:
    noisy, sparse = ({c.name: c.detail for c in check_strategy(name)} for name in ("noisy", "sparse"))
    assert sparse["constructs"] == "from density and parts, having no scale"
    assert sparse["perturb: scale"] == "it has no scale"
    assert sparse["train_mask"] == "masks of a child's training, the same for the same arguments"
    assert noisy["train_mask"] == "all weights take part in a child's training"


def test_every_broken_file_has_its_clause() -> None:
    assert {path.stem for path in BROKEN.glob("*.py")} == {*FAULTS, "fixed_scale"}


@pytest.mark.parametrize("name", FAULTS)
def test_each_fault_is_caught_by_its_clause_alone(name: str) -> None:
    clauses, message = FAULTS[name]
    checks = check_strategy(f"{name}.py" if name == "empty" else f"{name}.py:Broken", [BROKEN])
    assert failed(checks) == clauses
    assert re.search(message, "\n".join(check.detail for check in checks if not check.ok))


def test_a_strategy_that_takes_no_notice_of_sigma_is_warned_about() -> None:
    checks = {check.name: check for check in check_strategy("fixed_scale.py", [BROKEN])}
    assert failed(list(checks.values())) == []
    assert checks["perturb: scale"].detail.startswith("warning: ")


def test_the_check_leaves_the_global_random_states_alone() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.random()), float(torch.rand(()))  # noqa: NPY002

    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    expected = draw()
    random.seed(1), np.random.seed(1), torch.manual_seed(1)  # noqa: NPY002
    check_strategy("global_seed.py", [BROKEN])
    assert draw() == expected


def test_a_file_that_prints_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "chatty.py").write_text(
        "from evoens_strategies.noisy import Noisy\nprint('hello')\n\nclass Mine(Noisy): pass\n"
    )
    assert failed(check_strategy("chatty.py", [tmp_path])) == []


def test_before_a_run_the_clauses_are_tried_with_its_own_arguments() -> None:
    wants_more, sums = (load_class(locate(str(BROKEN / f"{name}.py")), Strategy) for name in ("wants_more", "sums"))
    usual = {"sigma": 0.1, "density": 0.5, "parts": 2}
    assert broken(wants_more, usual | {"rank": 2}) == []
    (sentence,) = broken(sums, usual)
    assert sentence.startswith("Broken breaks a Strategy's contract, perturb: element-wise: ")


@pytest.mark.parametrize("name", ["impure", "order", "told", "global_draw", "own_masks"])
def test_a_run_does_not_begin_with_a_strategy_whose_children_could_not_be_rebuilt(name: str) -> None:
    cls = load_class(locate(str(BROKEN / f"{name}.py")), Strategy)
    with pytest.raises(SpecError, match=r"perturb: pure: .*: a child could never be rebuilt from its genome$"):
        broken(cls, {"sigma": 0.1, "density": 0.5, "parts": 2})
