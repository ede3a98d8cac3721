"""What a trunk and the networks behind it have made of recorded inputs, kept while it fits in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Hashable, Sequence
from threading import Lock

import torch
from torch import Tensor

from evoens.graph.cut import Features
from evoens.network.inputs import Inputs


class Kept:
    """Features of inputs that come again, and answers to them, as long as they fit in `room` bytes; then no more.

    Inputs are known by what they are, not by where they come from: whoever asks, about whichever split, is given the
    features of equal inputs.

    Attributes:
        touched: the tensors behind the trunk, in which children may differ: who differs in others has another trunk.
        full: whether it takes no more features: something did not fit, or it was closed.
    """

    def __init__(self, room: int = 0, touched: Collection[str] = ()) -> None:
        self.room, self.touched = room, frozenset(touched)
        self._batches: dict[Hashable, Features] = {}
        self._rows: dict[Hashable, tuple[Features, int]] = {}
        self._answers: dict[Hashable, Tensor] = {}
        self._storing = Lock()
        self.clear()

    def clear(self) -> None:
        """Forget all, and take features again."""
        self._left, self._closed, self.full = self.room, False, not self.room
        for some in (self._batches, self._rows, self._answers):
            some.clear()

    def close(self) -> None:
        """Take no more features, but answers; features of rows from several batches are found together from now on.

        Not before: last bits may hang on the batch a row was in, and on the threads there were, so that they must not
        depend on who came first.
        """
        self._closed = self.full = True

    def rows(self, inputs: Inputs) -> Sequence[Hashable]:
        """Return what each of the inputs is known by; nothing where nothing is kept."""
        if not self.room or not isinstance(inputs, Tensor) or not len(inputs):
            return ()
        data = inputs.detach().cpu().contiguous().reshape(len(inputs), -1).view(torch.uint8).numpy()
        alike = inputs.dtype, inputs.shape[1:]
        return [(alike, hashlib.blake2b(row, digest_size=16).digest()) for row in data]

    def features(self, kind: Hashable, rows: Sequence[Hashable], compute: Callable[[], Features]) -> Features:
        """Return the features of `rows`, computed where they are not here; `kind`: how the trunk is run."""
        if not rows:
            return compute()
        if (known := self._batches.get((kind, *rows))) is not None:
            return known
        if self._closed:
            return self._gathered([(kind, row) for row in rows]) or compute()
        features = compute()
        if not self.full and self._fits(features):
            self._batches[(kind, *rows)] = features
            self._rows |= {(kind, row): (features, place) for place, row in enumerate(rows)}
        else:
            self.full = True
        return features

    def answers(self, who: Hashable, rows: Sequence[Hashable], compute: Callable[[], Tensor]) -> Tensor:
        """Return a network's answers to a batch, computed where it has not answered this very batch since `close`."""
        if not rows or not self._closed:
            return compute()
        if (known := self._answers.get((who, *rows))) is not None:
            return known
        answers = compute()
        if self._fits((answers,)):
            self._answers[(who, *rows)] = answers
        return answers

    def _fits(self, some: Features) -> bool:
        size = sum(part.nbytes for part in some)
        with self._storing:
            fits = size <= self._left
            self._left -= size if fits else 0
        return fits

    def _gathered(self, rows: Sequence[Hashable]) -> Features | None:
        if not self._rows.keys() >= set(rows):
            return None
        places = map(self._rows.__getitem__, rows)
        found = [tuple(part[place : place + 1] for part in features) for features, place in places]
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))  # keeps their layout
