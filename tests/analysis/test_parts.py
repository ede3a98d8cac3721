"""What holds for every part there is, and what each of the other parts finds."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from evoens_strategies.noisy import Noisy
from PIL import Image
from subjects import COUNT, subject
from torch import nn

from evoens.analysis.analyse import FOLDER, PARTS, analyse
from evoens.analysis.landscape import Landscape
from evoens.analysis.mutations import Mutations, plane
from evoens.analysis.part import Finding, Part
from evoens.analysis.subject import Subject
from evoens.diversity.activations import cka, hsic
from evoens.diversity.attribution import METHODS, attribute
from evoens.diversity.pictured import logits_fn
from evoens.errors import EvoensError, SpecError
from evoens.genome import Gene, Mask
from evoens.report.console import Reporter
from evoens.settings.diversity import DiversitySettings

SMALL = DiversitySettings.model_validate(
    {
        "clusters": {"inputs": 40},
        "attribution": {"inputs": 10},
        "features": {"units": 3, "steps": 3},
        "landscape": {"inputs": 12, "points": 3},
        "mutations": {"inputs": 20, "children": 4, "sigmas": (0.1, 0.5), "densities": (1.0, 0.5)},
    }
)


def made(name: str, of: Subject) -> Part:
    return PARTS[name](of, getattr(SMALL, name))


def finished(part: Part) -> Finding:
    return part.finish([part.step(place) for place in range(part.steps)])


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("name", PARTS)
def test_the_same_each_time_and_of_plain_numbers(name: str, labelled: bool) -> None:
    of, state = subject(labelled=labelled), torch.get_rng_state()
    first, second = (finished(made(name, of)) for _ in range(2))
    assert json.loads(json.dumps(first.figures)) == json.loads(json.dumps(second.figures))
    assert [p.data for p in first.pictures] == [p.data for p in second.pictures] and first.text and first.pictures
    assert not any(b"mathdefault" in picture.data for picture in first.pictures)  # a number that was not set
    assert torch.equal(torch.get_rng_state(), state)


def hooked(of: Subject) -> list[int]:
    """How many hooks each module has."""
    return [len(module._forward_hooks) for m in of.all_modules for module in m.modules()]


@pytest.mark.parametrize("name", PARTS)
def test_a_part_leaves_the_networks_as_they_were(name: str) -> None:
    of = subject()
    key, hooks = of.key, hooked(of)
    finished(made(name, of))
    assert of.key == key and all(weight.grad is None for m in of.all_modules for weight in m.parameters())
    assert hooked(of) == hooks


@pytest.mark.parametrize("name", PARTS)
def test_networks_without_a_parent(name: str) -> None:
    finding = finished(made(name, subject(parent=False)))
    assert finding.text and "parent" not in json.dumps(finding.figures).replace("to_parent", "")


def test_cka_is_of_the_innermost_layers_between_the_members() -> None:
    layers = finished(made("activations", subject())).figures["layers"]
    assert [row["layer"] for row in layers] == ["conv", "norm", "last"]
    assert all(0 < row["between_members"] < 1 and 0 < row["to_parent"] < 1 for row in layers)
    alike = finished(made("activations", subject(move=0.0))).figures["layers"]
    assert all(row["between_members"] == pytest.approx(1) for row in alike)


def test_attribution_is_the_mean_over_all_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    of = subject()
    whole = finished(made("attribution", of)).figures
    frames = of.problem.examples(10)[0]
    direct = attribute([logits_fn(of.pictured, m) for m in of.modules], frames, METHODS["smoothgrad"], of.seed)
    assert whole["diversity"]["value"] == pytest.approx(float(direct.variance.mean()))
    assert whole["distances"]["rmse"]["floor"] == pytest.approx(float(direct.rmse.mean(0).diagonal().mean()))
    monkeypatch.setattr("evoens.analysis.attribution.CHUNK", 4 * 3 * frames[0].numel())
    part = made("attribution", of)
    figures = finished(part).figures
    assert part.steps == 3 and figures["inputs"] == 10
    lookers, chunks = [logits_fn(of.pictured, m) for m in of.modules], torch.split(frames, 4)
    parts = [attribute(lookers, some, METHODS["smoothgrad"], of.seed + i) for i, some in enumerate(chunks)]
    expected = sum(len(some) * found.bits["average"] for some, found in zip(chunks, parts, strict=True)) / 10
    assert figures["distances"]["average"]["floor"] == pytest.approx(float(expected.diagonal().mean()))


def test_activations_between_members_leave_the_parent_out() -> None:
    of = subject()
    rows = finished(made("activations", of)).figures["layers"]
    alone = finished(made("activations", replace(of, parent=None))).figures["layers"]
    assert [row["between_members"] for row in rows] == pytest.approx([row["between_members"] for row in alone])
    inputs = of.inputs(of.problem.examples(COUNT)[0])
    pairs = [cka(hsic([of.all_modules[0], module], ["conv"], inputs)) for module in of.modules]
    own = next(row for row in rows if row["layer"] == "conv")
    expected = sum(float(found[0, 0, 1, 0]) for found in pairs) / len(pairs)
    assert own["to_parent"] == pytest.approx(expected) and "to_parent" not in alone[0]


def test_the_landscape_has_the_parent_s_own_loss_in_the_middle() -> None:
    of = subject()
    figures = finished(made("landscape", of)).figures
    frames, labels = of.problem.examples(12)
    own = nn.functional.nll_loss(of.problem.parent.predict(of.problem.inputs_of(frames.float())).log(), labels)
    assert figures["around"]["loss"][1][1] == pytest.approx(float(own), rel=1e-4)
    assert np.array(figures["through"]["loss"]).shape == (3, 3) and len(figures["through"]["networks"]) == 3


def test_without_classes_the_loss_is_the_divergence_from_the_parent() -> None:
    figures = finished(made("landscape", subject(labelled=False))).figures
    assert figures["around"]["loss"][1][1] == pytest.approx(0, abs=1e-6)
    assert min(min(row) for row in figures["around"]["loss"]) >= 0


def test_the_plane_goes_through_the_first_networks_that_are_not_on_one_line() -> None:
    """Mirrored twins lie on one line with their parent, and selection with replacement chooses a member twice."""
    of = subject(members=4)
    own, there = of.problem.parent.module.state_dict(), of.modules[0].state_dict()
    twin = {name: 2 * own[name] - there[name] if own[name].is_floating_point() else own[name] for name in own}
    of.modules[1].load_state_dict(twin)
    of.modules[2].load_state_dict(there)
    part = made("landscape", of)
    assert isinstance(part, Landscape) and part.names == ("parent", "member 1", "member 4")
    through = part.planes["through"]
    for network, (x, y) in zip((of.problem.parent.module, of.modules[0], of.modules[3]), through.networks, strict=True):
        assert torch.allclose(through.at(x, y)["conv.weight"], network.state_dict()["conv.weight"], atol=1e-5)
    twins = replace(of, names=of.names[:3], modules=of.modules[:3])
    found = finished(made("landscape", twins))
    assert "through" not in found.figures and found.pictures


def test_dead_units_are_not_looked_at() -> None:
    of = subject()
    for module in of.all_modules:
        module.conv.weight.data[2], module.conv.bias.data[2] = 0, -1
    settings = SMALL.features.model_copy(update={"units": 5, "layer": "conv"})
    assert finished(PARTS["features"](of, settings)).figures["units"] == [0, 1, 3, 4]


def test_features_are_of_a_layer_that_the_members_do_not_share() -> None:
    assert finished(made("features", subject())).figures["layer"] == "conv"
    of = subject()
    assert of.parent is not None
    for module in of.modules:
        module.conv.load_state_dict(of.parent.conv.state_dict())
    assert finished(made("features", of)).figures["layer"] == "last"


def test_features_stand_beside_what_another_seed_does_to_one_member() -> None:
    distances = finished(made("features", subject())).figures["distances"]
    assert set(distances) == {"average", "perceptual", "difference", "wavelet", "colour"}
    alike = finished(made("features", subject(move=0.0))).figures["distances"]
    for row in alike.values():
        assert row["same_seed"]["value"] == 0 and row["other_seed"]["value"] == pytest.approx(row["floor"]["value"])
    assert alike["perceptual"]["floor"]["value"] > 0


def test_mutations_are_the_noisy_strategy_s_children() -> None:
    of = subject()
    part = made("mutations", of)
    assert isinstance(part, Mutations)
    child = part._child(2, 0.5, 0.1)
    seed = Random("5:mutation:2").getrandbits(63)
    gene = Gene(seed, scale=0.1, mask=Mask(seed, density=0.5))
    for name in of.problem.parent.perturbed:
        assert torch.equal(child[name], Noisy(sigma=0.1).perturb(name, of.problem.parent.weights[name], gene))
    assert torch.equal(child["norm.weight"], of.problem.parent.weights["norm.weight"])


def test_stronger_and_denser_noise_leads_further_away() -> None:
    cells = {(row["density"], row["sigma"]): row for row in finished(made("mutations", subject())).figures["cells"]}
    assert list(cells) == [(1.0, 0.1), (1.0, 0.5), (0.5, 0.1), (0.5, 0.5)]
    assert cells[1.0, 0.5]["kl"] > cells[1.0, 0.1]["kl"] > cells[0.5, 0.1]["kl"] > 0
    assert all(0 <= row[name] <= 1 for row in cells.values() for name in ("accuracy", "mean", "majority-vote"))


def test_in_the_plane_boundaries_are_drawn_where_the_network_has_them() -> None:
    grid = plane((1, 1, 2))
    assert grid.shape == (64 * 64, 1, 1, 2) and grid[0].flatten().tolist() == [0, 0]
    assert grid[1].flatten()[0] > 0 and grid[64].flatten().tolist()[0] == 0  # x runs first
    assert grid[-1].flatten().tolist() == [255, 255]


def test_clusters_are_a_picture_of_three_rows() -> None:
    with_classes, without = (finished(made("clusters", subject(labelled=one))) for one in (True, False))
    sizes = [Image.open(io.BytesIO(finding.pictures[0].data)).size for finding in (with_classes, without)]
    assert sizes[0][0] == sizes[1][0] and sizes[0][1] > 2 * sizes[1][1]


BAD: dict[str, tuple[Callable[[], Subject], dict[str, object], type[EvoensError], str]] = {
    "a layer that is not there": (
        subject,
        {"activations": {"layers": ("konv",)}},
        SpecError,
        'layer "konv": expected one of the network\'s, found no such; did you mean "conv"',
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_done_is_said_before_work_begins(case: str, tmp_path: Path) -> None:
    make, change, error, message = BAD[case]
    settings = DiversitySettings.model_validate({**SMALL.model_dump(), **change})
    with pytest.raises(error, match=message):
        analyse(make(), settings, tmp_path, Reporter(quiet=True))
    assert list(tmp_path.iterdir()) == []


def test_all_parts_are_shown_on_the_page_and_in_tensorboard(tmp_path: Path) -> None:
    (tmp_path / "config.resolved.yaml").write_text("name: tiny\n")
    found = analyse(subject(), SMALL, tmp_path, Reporter(quiet=True))
    assert set(found) == set(PARTS)
    page = (tmp_path / "report.html").read_text()
    assert all(PARTS[name].title in page and f'id="diversity-{name}"' in page for name in PARTS)
    assert "not finished" not in page and "http" not in page.replace("http://www.w3.org", "")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tb" / FOLDER))
    events.Reload()
    assert {"diversity/clusters", "diversity/attribution"} <= set(events.Tags()["images"])
    assert {f"diversity/{name}/text_summary" for name in PARTS} <= set(events.Tags()["tensors"])


def test_only_what_has_changed_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "config.resolved.yaml").write_text("name: tiny\n")
    settings = SMALL.model_copy(update={"parts": ("outputs", "activations")})
    first = analyse(subject(), settings, tmp_path, Reporter(quiet=True))
    stamps = {path.name: path.stat().st_mtime_ns for path in (tmp_path / FOLDER).glob("*.json")}
    fewer = DiversitySettings.model_validate({**settings.model_dump(), "outputs": {"inputs": COUNT // 2}})
    logs = len(list((tmp_path / "tb" / FOLDER).iterdir()))
    second = analyse(subject(), fewer, tmp_path, Reporter(quiet=True))
    assert len(list((tmp_path / "tb" / FOLDER).iterdir())) == logs + 1
    assert second["activations"] == first["activations"] and second["outputs"]["figures"]["inputs"] == COUNT // 2
    now = {path.name: path.stat().st_mtime_ns for path in (tmp_path / FOLDER).glob("*.json")}
    assert now["activations.json"] == stamps["activations.json"] and now["outputs.json"] != stamps["outputs.json"]
    moved = analyse(subject(move=0.2), fewer, tmp_path, Reporter(quiet=True))
    assert moved["activations"]["key"] != first["activations"]["key"]
