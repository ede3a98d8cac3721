"""What children share: on inputs that are the same for all, what their networks do before any of them differs."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence

import torch
from torch import Tensor, nn

from evoens.evaluation.plan import Plan
from evoens.graph.cut import Cut, Features
from evoens.graph.proof import PROVED, proved_cut
from evoens.network.inputs import Inputs, several
from evoens.parent import Parent, fuse
from evoens.plugins.guest import guest
from evoens.problem import Evaluation, FixedInputs, Problem, Split
from evoens.scope import touches


def touched(parent: Parent, scopes: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return the tensors in which a child with genes of these scopes may differ from the parent."""
    entries = list(scopes)
    return tuple(name for name in parent.perturbed if any(touches(scope, name) for scope in entries))


def shared_trunk(problem: Problem, parent: Parent, names: Sequence[str]) -> Cut | None:
    """Return where children that touch the tensors `names` part; None where they share nothing."""
    return proved_cut(parent, names, problem.probe(PROVED)) if isinstance(problem, FixedInputs) else None


class TrunkCache:
    """The features where children part, for all inputs of a split: computed once, kept while they fit in `limit` bytes.

    A split that does not fit comes in blocks: a group of children goes through one before the next is computed.
    """

    def __init__(self, problem: FixedInputs, trunk: nn.Module, plan: Plan, device: torch.device, limit: int) -> None:
        self.problem, self.plan, self.device, self.limit = problem, plan, device, limit
        self._trunk = plan.fit(trunk, device)
        if plan.layout == "channels_last":
            fuse(self._trunk)
        self._kept: Split | None = None
        self._block: list[Features] = []
        self._last = False
        self._home = torch.device("cpu")  # where the inputs are

    def blocks(self, split: Split) -> Iterator[None]:
        """Have the features of `split` here, a block after the other; the `cases` of children go on with each."""
        if self._kept == split:
            yield
            return
        self._kept, self._last, first, size = None, False, True, 0
        self._block.clear()
        for inputs in self.problem.batches(split):
            features = self._features(inputs)
            more = sum(part.nbytes for part in features)
            if self._block and size + more > self.limit:
                yield
                self._block.clear()
                first, size = False, 0
            self._block.append(features)
            size += more
        self._kept, self._last = split if first else None, True
        yield

    def cases(self, split: Split) -> Generator[Features | None, Tensor, Evaluation]:
        """Do as `Problem.cases`, with features for inputs, and with a pause after each block but the last."""
        outputs = []
        while True:
            for features in self._block:
                outputs.append((yield features).to(self._home))
            if self._last:
                return self.problem.score_outputs(split, torch.cat(outputs))
            yield None

    def _features(self, inputs: Inputs) -> Features:
        self._home = several(inputs)[0].device
        with torch.inference_mode(), guest("the network"):
            features: Features = self._trunk(*self.plan.fit_inputs(inputs, self.device))
            return self.plan.fit_inputs(features, self.device)
