"""What children share: all that their networks do before any of them differs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from evoens.evaluation.plan import Plan
from evoens.graph.cut import Cut, Features
from evoens.graph.proof import PROVED, proved_cut
from evoens.machine.threads import side_by_side
from evoens.network.inputs import Inputs
from evoens.parent import Parent, fuse
from evoens.plugins.guest import guest
from evoens.problem import Problem
from evoens.scope import touches

ROWS = 64  # a pass, at most: more are no quicker, and need more memory
SIZES = (1, 2, 3, 5, 7, 8, 12, 16, 17, 24, 31, 32, 33, 48, 63)  # of batches on which bits are compared


def touched(parent: Parent, scopes: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return the tensors in which a child with genes of these scopes may differ from the parent."""
    entries = list(scopes)
    return tuple(name for name in parent.perturbed if any(touches(scope, name) for scope in entries))


def shared_trunk(problem: Problem, parent: Parent, names: Sequence[str]) -> Cut | None:
    """Return where children that touch the tensors `names` part; None where they share nothing."""
    return proved_cut(parent, names, problem.probe(PROVED))


class Trunk:
    """The shared part of a network, as a plan runs it."""

    def __init__(self, module: nn.Module, plan: Plan, device: torch.device) -> None:
        self.plan, self.device = plan, device
        self._module = plan.fit(module, device)
        if plan.layout == "channels_last":
            fuse(self._module)

    def features(self, inputs: Inputs) -> Features:
        """Return the features of inputs, as the plan has them, in one pass."""
        with torch.inference_mode(), guest("the network"):
            features: Features = self._module(*self.plan.fit_inputs(inputs, self.device))
            return self.plan.fit_inputs(features, self.device)

    def __call__(self, rows: Tensor) -> Features:
        """Return the features of the rows of several children `(n, *input)`, in passes of `ROWS` at most."""
        found = [self.features(some) for some in torch.split(rows, ROWS)]
        return found[0] if len(found) == 1 else tuple(torch.cat(parts) for parts in zip(*found, strict=True))

    def alike(self, rows: Tensor) -> bool:
        """Whether a row has the same bits at whatever place of whatever batch, seen on batches of many sizes.

        What is convolved on a CPU in channels_last has: oneDNN sums up an output in one order, whatever the batch. The
        product of a matrix has not, nor has a convolution of one image in another layout.
        """
        rows = torch.cat([rows] * -(-ROWS // len(rows)))[:ROWS]
        with side_by_side(self.plan.children) as pool:  # with as many threads as there will be
            whole = pool.submit(self.features, rows).result()
            return all(
                torch.equal(part[-size:], few)
                for size in SIZES
                for part, few in zip(whole, pool.submit(self.features, rows[-size:]).result(), strict=True)
            )
