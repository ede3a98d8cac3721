"""The features of a split, where inputs are the same for all children: computed once."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import torch
from torch import Tensor

from evoens.evaluation.plan import DTYPES, FORMATS
from evoens.evaluation.trunk import Trunk
from evoens.graph.cut import Features
from evoens.graph.feature_cache import Kept
from evoens.network.inputs import Inputs, several
from evoens.problem import Evaluation, FixedInputs, Split


class TrunkCache:
    """The features where children part, for all inputs of a split: computed once, kept while they fit in `limit` bytes.

    A split that does not fit comes in blocks: a group of children goes through one before the next is computed.
    What ensembles of such children share is in `shared`.
    """

    def __init__(self, problem: FixedInputs, trunk: Trunk, limit: int, shared: Kept) -> None:
        self.problem, self.limit, self._trunk, self._shared = problem, limit, trunk, shared
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
        plan = self._trunk.plan
        kind = (FORMATS[plan.layout], DTYPES[plan.precision], self._trunk.device)
        return self._shared.features(kind, self._shared.rows(inputs), lambda: self._trunk.features(inputs))
