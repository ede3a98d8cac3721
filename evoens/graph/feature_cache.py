"""What a trunk has computed of some inputs, kept while it fits in memory."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from evoens.graph.cut import Features


class Kept:
    """Features that are asked for again, by name, as long as they fit in `room` bytes; others are computed anew."""

    def __init__(self, room: int) -> None:
        self.room = room
        self._found: dict[Hashable, Features] = {}

    def get(self, name: Hashable, compute: Callable[[], Features]) -> Features:
        """Return the features of this name, computed only the first time."""
        if name in self._found:
            return self._found[name]
        features = compute()
        size = sum(part.nbytes for part in features)
        if size <= self.room:
            self._found[name] = features
            self.room -= size
        return features
