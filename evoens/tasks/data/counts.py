"""How many images each split of a pool asks for."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from evoens.errors import ProblemError
from evoens.settings.classification import Cut, SplitCuts


def cuts_of(splits: SplitCuts, pool: str) -> dict[str, Cut]:
    """Return the splits that come from `pool`, by name."""
    return {name: cut for name, cut in splits.cuts.items() if cut.from_ == pool}


def split_sizes(cuts: Mapping[str, Cut], total: int, pool: str, needed: Collection[str]) -> dict[str, int]:
    """Return the number of images of each split of a pool of `total` images.

    Args:
        cuts: the splits that come from the pool.
        total: how many images it has.
        pool: its name.
        needed: the splits that must have some.

    Raises:
        ProblemError: more is asked for than there is, or nothing is left for a needed split that gets the rest.
    """
    sizes = {name: _size(cut.count, total) for name, cut in cuts.items() if cut.count is not None}
    rest = [name for name in cuts if name not in sizes]
    asked = " + ".join(f"{size} ({name})" for name, size in sizes.items())
    left = total - sum(sizes.values())
    if left < 0:
        raise ProblemError(f"expected at most the {total} images of {pool} in all, found {asked}")
    if rest and rest[0] in needed and not left:
        raise ProblemError(
            f"expected fewer than the {total} images of {pool}, so that {rest[0]} has some, found {asked}"
        )
    return {name: sizes.get(name, left) for name in cuts}


def _size(count: int | float, total: int) -> int:
    return count if isinstance(count, int) else round(count * total)
