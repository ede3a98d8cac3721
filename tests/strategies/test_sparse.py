"""Sparse: the masks of every setting by hand, against torch's pruning, and zeros that stay zeros."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest
import torch
from evoens_strategies.sparse import Sparse
from torch import Tensor, nn
from torch.nn.utils import prune

from evoens import noise
from evoens.children import child_weights, initial_weights
from evoens.errors import GenomeError, SpecError
from evoens.genome import Gene, Genome, Mask
from evoens.parent import Architecture, Parent

NAME, SHAPE = "conv.weight", (16, 6, 3, 3)


def parent(seed: int = 0) -> Parent:
    layers = (nn.Conv2d(3, 10, 3), nn.ReLU(), nn.Conv2d(10, 12, 3), nn.Flatten(), nn.Linear(48, 9), nn.Linear(9, 5))
    module = nn.Sequential(*layers)
    for name, weight in module.state_dict().items():
        weight.copy_(noise.normals(seed, name, weight.shape) / weight[0].numel() ** 0.5)
    return Parent(module, Architecture("torch.nn:Sequential"))


def asked(n: int, of: Parent | None = None, **settings: Any) -> tuple[Sparse, list[Genome]]:
    strategy = Sparse(**settings)
    strategy = strategy.within(parent=of)
    return strategy, strategy.ask(n, Random(1))


def children(n: int, of: Parent, **settings: Any) -> list[dict[str, Tensor]]:
    strategy, genomes = asked(n, of, **settings)
    return [child_weights(of, strategy, genome) for genome in genomes]


# ---- asking


@pytest.mark.parametrize("parts", [1, 2, 3, 6])
def test_one_draw_gives_a_child_for_each_part(parts: int) -> None:
    strategy, genomes = asked(2 * parts, density=0.5 if parts < 3 else 1 / parts, parts=parts)
    genes = [gene for genome in genomes for gene in genome.genes]
    assert len(genes) == len({g.seed for g in genes}) == 2 * parts
    assert {(g.scale, g.sign, g.extra, g.scope) for g in genes} == {(1.0, 1, (), ())}
    masks = [g.mask for g in genes if g.mask]
    assert [m.part for m in masks] == 2 * list(range(parts))
    assert len({m.seed for m in masks[:parts]}) == 1 and masks[0].seed != masks[-1].seed
    assert strategy.ask(3, Random(1)) == genomes[:3] or len(genomes) < 3


def test_every_child_starts_from_the_parent_anew() -> None:
    strategy = Sparse()
    strategy = strategy.within(elites=tuple(strategy.ask(2, Random(0))))
    assert all(len(genome.genes) == 1 for genome in strategy.ask(6, Random(3)))


def test_the_output_layer_is_left_whole_unless_asked_for() -> None:
    ours = parent()
    for settings, whole in (({}, True), ({"output": True}, False)):
        for child in children(2, ours, **settings):
            assert torch.equal(child["5.weight"], ours.weights["5.weight"]) == whole
            assert (child["4.weight"] == 0).any()
    strategy, (genome,) = asked(1, ours)
    assert genome.genes[0].scope == ("not 5.weight",)
    strategy = strategy.within(scope=("0", "5"))
    (genome,) = strategy.ask(1, Random(0))
    zeros = {name for name, weight in child_weights(ours, strategy, genome).items() if (weight == 0).any()}
    assert zeros == {"0.weight"}


def test_an_output_layer_that_is_all_there_is_is_named() -> None:
    linear = Parent(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), Architecture("torch.nn:Sequential"))
    with pytest.raises(SpecError, match="output: expected true"):
        asked(1, linear)
    assert (children(1, linear, output=True)[0]["1.weight"] == 0).sum() == 4


# ---- masks


def test_a_pair_is_worked_by_hand() -> None:
    """The words of (5, "mask:conv.weight") are lowest at 14, 2, 6, 7, 15, 9, 5 and 12 of 16."""
    weight = torch.arange(1.0, 17).reshape(4, 4)
    pair = [Sparse().perturb(NAME, weight, Gene(0, 1.0, mask=Mask(5, 0.5, 2, part, "exact"))) for part in (0, 1)]
    assert pair[0].tolist() == [[0, 0, 3, 0], [0, 6, 7, 8], [0, 10, 0, 0], [13, 0, 15, 16]]
    assert torch.equal(pair[1], weight - pair[0])


@pytest.mark.parametrize("structure", ["unstructured", "exact", "channels", "2:4"])
@pytest.mark.parametrize(("density", "parts"), [(0.5, 2), (0.3, 2), (1 / 3, 3), (1 / 6, 6)])
def test_parts_are_disjoint_and_cover_and_of_their_share(structure: str, density: float, parts: int) -> None:
    if structure == "2:4" and density != 0.5:
        with pytest.raises(GenomeError, match="2:4"):
            Sparse(density, parts, structure=structure)
        return
    ours = parent()
    found = children(parts, ours, density=density, parts=parts, structure=structure)
    for name in ours.perturbed[:-1]:
        weight = ours.weights[name]
        assert torch.equal(torch.stack([child[name] for child in found]).sum(0), weight)  # disjoint: a sum of zeros
        for part, child in enumerate(found):
            share = Mask(0, density, parts, part).share
            kept = float((child[name] != 0).float().mean())
            unit = 1 / weight.shape[0] if structure == "channels" else 1 / weight[0].numel()
            assert kept == pytest.approx(share, abs=unit)


def test_masks_drawn_for_each_child_are_independent() -> None:
    ours = parent()
    a, b = (child["2.weight"] != 0 for child in children(2, ours, parts=1, density=0.3))
    assert int(a.sum()) == int(b.sum()) == round(0.3 * a.numel())
    assert 0.05 < float((a & b).float().mean()) < 0.13


def test_by_draws_of_their_own_layers_differ_from_their_share() -> None:
    ours = parent()
    counts = [
        sum(int((child[name] != 0).sum()) for child in children(20, ours, parts=1, pool=pool)) / 20
        for pool in ("layer", "network")
        for name in ("2.weight",)
    ]
    assert counts[0] == 540 and counts[1] != 540 and counts[1] == pytest.approx(540, abs=4 * (270 / 20) ** 0.5)


def test_whole_channels_and_neurons() -> None:
    ours = parent()
    for child in children(2, ours, structure="channels"):
        for name in ours.perturbed[:-1]:
            alive = (child[name] != 0).flatten(1)
            assert torch.equal(alive.any(1), alive.all(1)) and int(alive.any(1).sum()) in (4, 5, 6)
    with pytest.raises(SpecError, match="structure: expected one of single weights"):
        Sparse(structure="channels", output=True)


# ---- magnitude


def test_the_largest_of_each_layer_as_torch_prunes() -> None:
    ours, theirs = parent(), parent()
    for layer in (theirs.module[0], theirs.module[2], theirs.module[4]):  # type: ignore[index]
        prune.l1_unstructured(layer, "weight", layer.weight.numel() - round(0.2 * layer.weight.numel()))
    (child,) = children(1, ours, by="magnitude", density=0.2, parts=1)
    for name in ours.perturbed[:-1]:
        assert torch.equal(child[name], theirs.module.get_submodule(name[0]).weight)  # type: ignore[arg-type]


@pytest.mark.parametrize("density", [0.02, 0.3])
def test_the_largest_of_the_whole_network_as_torch_prunes(density: float) -> None:
    ours, theirs = parent(), parent()
    layers = [(theirs.module[place], "weight") for place in (0, 2, 4)]  # type: ignore[index]
    total = sum(layer.weight.numel() for layer, _ in layers)
    prune.global_unstructured(layers, prune.L1Unstructured, amount=total - round(density * total))
    pair = children(2, ours, by="magnitude", pool="network", density=density)
    for name in ours.perturbed[:-1]:
        assert torch.equal(pair[0][name], theirs.module.get_submodule(name[0]).weight)  # type: ignore[arg-type]
        assert torch.equal(pair[0][name] + pair[1][name], ours.weights[name])
    assert torch.equal(pair[0]["5.weight"], ours.weights["5.weight"])


def test_one_ranking_over_all_layers_is_in_the_gene() -> None:
    """An ensemble is rebuilt without asking: the gene must say it all."""
    ours = parent()
    strategy, (genome,) = asked(1, ours, by="magnitude", pool="network", density=0.1)
    fresh = Sparse(by="magnitude", pool="network", density=0.1)
    again = child_weights(ours, fresh, Genome.from_json(genome.to_json()))
    assert all(torch.equal(again[n], w) for n, w in child_weights(ours, strategy, genome).items())
    with pytest.raises(SpecError, match="pool: expected a parent"):
        asked(1, None, by="magnitude", pool="network")


@pytest.mark.parametrize("pool", ["layer", "network"])
def test_what_magnitude_has_pruned_stays_out_however_weights_move(pool: str) -> None:
    ours = parent()
    strategy, genomes = asked(2, ours, by="magnitude", pool=pool)
    for genome in genomes:
        for name, weight in initial_weights(ours, strategy, genome).items():
            moved = weight * torch.linspace(0.01, 3, weight.numel()).reshape(weight.shape)
            for progress in (0.0, 0.5, 1.0):
                kept = strategy.train_mask(name, moved, genome.genes[0], progress, 3)
                assert torch.equal(kept, weight != 0)


# ---- rounds


def test_rounds_worked_by_hand() -> None:
    """Five rounds over the first half: at 0, .1, .2, .3 and .4 the share goes to 90, 80, 70, 60 and 50 %."""
    strategy = Sparse(rounds=5, over=0.5)
    assert strategy.mask_fixed_from == pytest.approx(0.4)
    weight, gene = torch.ones(40, 25), Gene(0, 1.0, mask=Mask(3, 0.5, 2, 1, "exact"))
    times = [0.0, 0.05, 0.1, 0.25, 0.3, 0.39, 0.4, 0.7, 1.0]
    kept = [strategy.train_mask(NAME, weight, gene, t, 0) for t in times]
    assert [int(k.sum()) for k in kept] == [900, 900, 800, 700, 600, 600, 500, 500, 500]
    assert all(not (later & ~earlier).any() for earlier, later in pairwise(kept))
    assert torch.equal(kept[-1], noise.keep(gene.mask, NAME, weight.shape))  # type: ignore[arg-type]
    assert torch.equal(strategy.perturb(NAME, weight, gene), kept[0].float())
    assert [strategy.mask_valid_until(t) for t in times] == pytest.approx([0.1, 0.1, 0.2, 0.3, 0.4, 0.4, 1, 1, 1])


@pytest.mark.parametrize(
    "settings",
    [
        {"density": 0.1, "parts": 1},
        {"density": 1 / 3, "parts": 3},
        {"structure": "channels"},
        {"by": "magnitude", "density": 0.1, "parts": 1},
        {"by": "magnitude", "density": 0.25, "parts": 1, "structure": "channels"},
    ],
    ids=str,
)
def test_the_last_round_reaches_the_density_and_pruned_weights_never_come_back(settings: dict[str, Any]) -> None:
    ours = parent()
    strategy, genomes = asked(3, ours, rounds=4, over=0.4, **settings)
    for genome in genomes:
        (gene,) = genome.genes
        for name, weight in initial_weights(ours, strategy, genome).items():
            if name == "5.weight":
                continue
            left = weight
            for step in range(10):
                kept = strategy.train_mask(name, left, gene, step / 10, step)
                assert not (kept & (left == 0)).any() or settings.get("by") != "magnitude"
                left = left * kept * (1 + 0.1 * noise.normals(step, name, weight.shape))  # trained a little
            assert gene.mask is not None
            share, unit = gene.mask.share, weight[0].numel() if "structure" in settings else 1
            assert abs(int((left != 0).sum()) - share * weight.numel()) <= unit
            assert torch.equal(strategy.train_mask(name, left, gene, 1.0, 0) & (left != 0), left != 0)


# ---- settings


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"structure": "rows"}, "mask.structure: expected one of unstructured, exact, channels, 2:4"),
        ({"by": "l1"}, "by: expected one of random, magnitude, found 'l1'"),
        ({"pool": "all"}, "pool: expected one of layer, network"),
        ({"density": 0.0}, "mask.density"),
        ({"parts": 3}, "equal parts have density"),
        ({"rounds": 0}, "rounds, over: expected 1 or more"),
        ({"rounds": 2.5}, "rounds, over: expected 1 or more"),
        ({"over": 0.0}, "found 1, 0.0"),
        ({"over": 1.5}, "found 1, 1.5"),
        ({"pool": "network", "structure": "channels"}, "pool: expected layer"),
        ({"pool": "network", "by": "magnitude", "parts": 4, "density": 0.25}, "pool: expected layer"),
        ({"pool": "network", "rounds": 2}, "pool: expected layer"),
        ({"rounds": 2, "structure": "2:4"}, "rounds: expected 1 with 2:4"),
        ({"rounds": 2, "by": "magnitude"}, "by magnitude with parts > 1"),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together_are_named(settings: dict[str, Any], message: str) -> None:
    with pytest.raises((SpecError, GenomeError), match=message):
        Sparse(**settings)


def test_it_has_no_scale() -> None:
    assert Sparse.scaled is False
    with pytest.raises(TypeError, match="sigma"):
        Sparse(sigma=0.1)  # type: ignore[call-arg]


def test_the_weight_it_is_given_stays_as_it_is() -> None:
    weight = noise.normals(1, NAME, SHAPE)
    before = weight.clone()
    for settings in ({}, {"by": "magnitude"}, {"structure": "2:4"}, {"structure": "channels", "by": "magnitude"}):
        strategy, (genome,) = asked(1, **settings)
        found = strategy.perturb(NAME, weight, genome.genes[0])
        assert found is not weight and found.dtype == torch.float32
        strategy.train_mask(NAME, weight, genome.genes[0], 0.5, 3)
        assert torch.equal(weight, before)
