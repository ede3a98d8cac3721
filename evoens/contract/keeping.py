"""The clause of a Strategy's contract about training: which weights take part, the same for the same arguments."""

from __future__ import annotations

import torch
from torch import Tensor

from evoens.architecture import global_state
from evoens.contract.subject import TWINS, Subject, global_seed, require, reseeded, same
from evoens.genome import Gene


def keep(s: Subject) -> str:
    """Check `keep` before, while and after a child's masks settle."""
    gene, settled = s.genomes()[0].genes[-1], s.new().settled
    found = {
        name: [_kept(s, name, gene, progress, step) for step, progress in enumerate((0.0, settled / 2, settled, 1.0))]
        for name in s.parent.perturbed
    }
    if all(mask is None for row in found.values() for mask in row):
        return "all weights take part in a child's training"
    for name, (*_, after, last) in found.items():
        require(
            _alike(after, last), f"keep({name!r}) still changes after `settled`, {settled}: it is not asked again then"
        )
    for progress in (0.0, 1.0):
        weight = s.parent.weights[TWINS[0]]
        mine, other = (s.new().keep(name, weight.clone(), gene, progress, 0) for name in TWINS)
        seeds = s.new().keep(TWINS[0], weight.clone(), reseeded(gene), progress, 0)
        require(
            not _alike(mine, other) or _alike(mine, seeds),
            f"keep gives {TWINS[0]} and {TWINS[1]}, of equal shape, one mask: draw by the name as well as the seed",
        )
    return "masks of a child's training, the same for the same arguments"


def _kept(s: Subject, name: str, gene: Gene, progress: float, step: int) -> Tensor | None:
    """Return what `keep` gives; the global random state may play no part, and the weight must stay as it is."""
    weight, given = s.parent.weights[name], s.parent.weights[name].clone()
    masks = []
    for seed in (1, 2):
        with global_seed(seed):
            before = global_state()
            masks.append(s.new().keep(name, given, gene, progress, step))
            require(global_state() == before, f"keep({name!r}) draws from or seeds a global state: use evoens.noise")
    require(same({name: given}, {name: weight}), f"keep({name!r}) changed the weight it was given, in place")
    for mask in masks:
        right = mask is None or (isinstance(mask, Tensor) and mask.dtype == torch.bool and mask.shape == weight.shape)
        what = f"{mask.dtype} {tuple(mask.shape)}" if isinstance(mask, Tensor) else type(mask).__name__
        require(right, f"keep({name!r}) must return None or bools of shape {tuple(weight.shape)}, found {what}")
    require(_alike(*masks), f"keep({name!r}) gave other masks for the same arguments: a training could not be resumed")
    return masks[0]


def _alike(a: Tensor | None, b: Tensor | None) -> bool:
    return torch.equal(a, b) if a is not None and b is not None else a is b
