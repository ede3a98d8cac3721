"""The clause of a Strategy's contract about training: which weights take part, the same for the same arguments."""

from __future__ import annotations

import torch
from torch import Tensor

from evoens.architecture import global_state
from evoens.contract.subject import TWINS, Subject, global_seed, require, reseeded, same
from evoens.genome import Gene


def train_mask(s: Subject) -> str:
    """Check `train_mask` before, while and after a child's masks are fixed."""
    gene, fixed = s.genomes()[0].genes[-1], s.new().mask_fixed_from
    found = {
        name: [_kept(s, name, gene, progress, step) for step, progress in enumerate((0.0, fixed / 2, fixed, 1.0))]
        for name in s.parent.perturbed
    }
    if all(mask is None for row in found.values() for mask in row):
        return "all weights take part in a child's training"
    for name, (*_, after, last) in found.items():
        told = f"train_mask({name!r}) still changes after `mask_fixed_from`, {fixed}: it is not asked again then"
        require(_alike(after, last), told)
    for progress in (0.0, 1.0):
        weight = s.parent.weights[TWINS[0]]
        mine, other = (s.new().train_mask(name, weight.clone(), gene, progress, 0) for name in TWINS)
        seeds = s.new().train_mask(TWINS[0], weight.clone(), reseeded(gene), progress, 0)
        require(
            not _alike(mine, other) or _alike(mine, seeds),
            f"train_mask gives {TWINS[0]} and {TWINS[1]}, of equal shape, one mask: draw by the name and the seed",
        )
    return "masks of a child's training, the same for the same arguments"


def _kept(s: Subject, name: str, gene: Gene, progress: float, step: int) -> Tensor | None:
    """Return what `train_mask` gives; the global random state may play no part, and the weight must stay as it is."""
    weight, given = s.parent.weights[name], s.parent.weights[name].clone()
    masks = []
    for seed in (1, 2):
        with global_seed(seed):
            before = global_state()
            masks.append(s.new().train_mask(name, given, gene, progress, step))
            require(
                global_state() == before, f"train_mask({name!r}) draws from or seeds a global state: use evoens.noise"
            )
    require(same({name: given}, {name: weight}), f"train_mask({name!r}) changed the weight it was given, in place")
    for mask in masks:
        right = mask is None or (isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == weight.shape)
        what = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        require(right, f"train_mask({name!r}) must return None or bools of shape {tuple(weight.shape)}, found {what}")
    require(
        _alike(*masks), f"train_mask({name!r}) gave other masks for the same arguments: a training could not be resumed"
    )
    return masks[0]


def _alike(a: Tensor | None, b: Tensor | None) -> bool:
    return torch.equal(a, b) if a is not None and b is not None else a is b
