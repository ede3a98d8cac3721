"""What a trunk has made of recorded inputs, kept while it fits in memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Hashable

import torch
from torch import Tensor

from evoens.graph.cut import Features
from evoens.network.inputs import Inputs


class Kept:
    """Features of inputs that come again, as long as they fit in `room` bytes; others are computed anew.

    Inputs are known by what they are, not by where they come from: whoever asks, about whichever split, is given the
    features of equal inputs.

    Attributes:
        touched: the tensors behind the trunk, in which children may differ: who differs in others has another trunk.
        full: whether it takes no more: something did not fit, or it was closed.
    """

    def __init__(self, room: int = 0, touched: Collection[str] = ()) -> None:
        self.room, self.touched = room, frozenset(touched)
        self._batches: dict[Hashable, Features] = {}
        self._rows: dict[Hashable, tuple[Features, int]] = {}
        self.clear()

    def clear(self) -> None:
        """Forget all features, and take new ones again."""
        self._left, self._closed, self.full = self.room, False, not self.room
        self._batches.clear()
        self._rows.clear()

    def close(self) -> None:
        """Take no more features; inputs that are rows of several batches are found from now on.

        Not before: the last bits of a row may hang on the batch it was in, so that they must not depend on who came
        first.
        """
        self._closed = self.full = True

    def get(self, kind: Hashable, inputs: Inputs, compute: Callable[[], Features]) -> Features:
        """Return the features of `inputs`, computed where they are not here; `kind`: how the trunk is run."""
        if not self.room or not isinstance(inputs, Tensor) or not len(inputs):
            return compute()
        rows: list[Hashable] = [(kind, inputs.dtype, inputs.shape[1:], digest) for digest in _digests(inputs)]
        if (known := self._batches.get(tuple(rows))) is not None:
            return known
        if self._closed:
            return self._gathered(rows) or compute()
        features = compute()
        self._left -= sum(part.nbytes for part in features)
        self.full = self.full or self._left < 0
        if not self.full:
            self._batches[tuple(rows)] = features
            self._rows |= {row: (features, place) for place, row in enumerate(rows)}
        return features

    def _gathered(self, rows: list[Hashable]) -> Features | None:
        if not self._rows.keys() >= set(rows):
            return None
        places = map(self._rows.__getitem__, rows)
        found = [tuple(part[place : place + 1] for part in features) for features, place in places]
        return tuple(torch.cat(parts) for parts in zip(*found, strict=True))  # keeps their layout


def _digests(inputs: Tensor) -> list[bytes]:
    data = inputs.detach().cpu().contiguous().reshape(len(inputs), -1).view(torch.uint8).numpy()
    return [hashlib.blake2b(row, digest_size=16).digest() for row in data]
