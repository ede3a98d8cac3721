"""Does this machine draw the published noise, and is a run's or an ensemble's folder as it was written?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from evoens import ensemble_folder, noise
from evoens.architecture import GIVEN, undisturbed
from evoens.errors import Check, CheckpointError, EvoensError, one_line
from evoens.genome import Genome, Mask
from evoens.known_code import Trust, known_architecture, known_strategy, strangers
from evoens.storage.checkpoint import CheckpointStore

T = TypeVar("T")

# The published vectors, worked out without this package: Philox4x64-10 in integers, Φ⁻¹ in float64, rounded once.
TABLE_SHA256 = "1cfbba1e07e34386a57626f82aeb43e6ed54ba70a3ea6b7d964dc66a841074a8"
STREAM_SHA256 = "57197e88a703d92cfa6c632223667e65702cbf4481c78217d77ac828cfcccb80"  # 100 003 of (3, "long.weight")
NORMALS = {  # (seed, name): the first values, as the bits of float32
    (0, "conv.weight"): (0xBF3AE5E1, 0x3F08AEC7, 0x3FB47283, 0xBE8978C6, 0x3D1F21F1),
    (2**64 - 1, "body.0.conv1.weight"): (0xBE57013E, 0xBE439F94, 0x3F1C1D92, 0xBF80551A, 0x3E93EA76),
    (20231123, "fc/ε.weight"): (0xBF71157E, 0x3F12321C, 0xBFB475E6, 0x3F99E632, 0xC03587BF),
}
KEPT = {  # mask: where it holds in 16 weights of the name "conv.weight"
    Mask(5, 0.2): (14,),
    Mask(5, 0.2, 2, 1): (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15),
    Mask(5, 1 / 3, 3, 1): (5, 6, 7, 8, 9, 11, 12, 13, 15),
    Mask(5, 0.2, 1, 0, "exact"): (2, 6, 14),
    Mask(5, 1 / 3, 3, 1, "exact"): (5, 8, 11, 12, 13),
    Mask(5, 0.5, 2, 1, "channels"): (0, 1, 3, 4, 8, 10, 11, 13),
    Mask(5, 0.5, 2, 1, "2:4"): (0, 1, 4, 5, 10, 11, 12, 13),
}
TARGET = 2, 6, 7, 14
ANNEALED = 2, 6, 12, 15  # turned over by (0, "step 7:conv.weight"), chance 30 000, temperature 3/4
SUMS = (  # 0.015 − 0.02 · z, z of (0, "conv.weight"): rounded once instead of twice, four of them differ
    *(0x3CF27EA4, 0x3B8D9CBA, 0xBC582F63, 0x3CA6DEF8),
    *(0x3C690786, 0xBCA933B6, 0x3D094618, 0x3C9D4E70),
)


def verify(path: Path | None = None, *, trust: bool = False) -> list[Check]:
    """Check the published vectors on this machine and, with a `path`, the folder of a run or of an ensemble.

    Args:
        path: the folder.
        trust: run what is neither evoens's nor torchvision's; without it, only its hashes are checked.

    Returns:
        One check a thing, in order; what cannot be looked at because something before it is broken is left out.

    Raises:
        CheckpointError: there is no such folder, or it is neither a run's nor an ensemble's.
    """
    return [*vectors(), *(folder_checks(path, trust) if path is not None else ())]


# ---- the standard


def vectors() -> list[Check]:
    """Check that this machine draws the published bits, on every device it has."""
    devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
    table = _sha256(noise.quantiles())
    checks = [
        Check("table of quantiles", table == TABLE_SHA256, f"sha256 {table[:16]}…, expected {TABLE_SHA256[:16]}…")
    ]
    for device in devices:
        where = "" if device == "cpu" else f" on {device}"
        checks += [check(device, where) for check in (_normals, _stream, _masks, _annealed, _sums)]
    return checks


def _sha256(values: npt.NDArray[np.float32]) -> str:
    return hashlib.sha256(values.astype("<f4").tobytes()).hexdigest()


def _bits(values: torch.Tensor) -> tuple[int, ...]:
    return tuple(values.cpu().numpy().view(np.uint32).tolist())


def _normals(device: str, where: str) -> Check:
    wrong = [k for k, bits in NORMALS.items() if _bits(noise.normals(*k, (len(bits),), device)) != bits]
    how = "in C" if noise.compiled() else "through NumPy (streams.c was not built)"
    detail = f"other bits for {wrong}" if wrong else f"{len(NORMALS)} published streams, drawn {how}"
    return Check(f"normals{where}", not wrong, detail)


def _stream(device: str, where: str) -> Check:
    found = _sha256(noise.normals(3, "long.weight", (100_003,), device).cpu().numpy())
    return Check(f"long stream{where}", found == STREAM_SHA256, f"sha256 {found[:16]}…, expected {STREAM_SHA256[:16]}…")


def _masks(device: str, where: str) -> Check:
    def kept(mask: Mask) -> tuple[int, ...]:
        return tuple(noise.keep(mask, "conv.weight", (16,), device).nonzero().flatten().tolist())

    wrong = [mask for mask, places in KEPT.items() if kept(mask) != places]
    return Check(f"masks{where}", not wrong, f"other weights for {wrong}" if wrong else f"{len(KEPT)} published masks")


def _annealed(device: str, where: str) -> Check:
    """A mask that is annealed: one of its steps."""
    target = torch.zeros(16, dtype=torch.bool, device=device)
    target[list(TARGET)] = True
    chance = torch.full((16,), 30_000, dtype=torch.int32).to(torch.uint16)
    found = noise.annealed_mask(0, "step 7:conv.weight", target, chance, 0.75).nonzero().flatten().tolist()
    right = tuple(found) == ANNEALED
    return Check(f"annealed masks{where}", right, "one published step" if right else f"other weights, {found}")


def _sums(device: str, where: str) -> Check:
    """`w + (σ·s)·z` must be rounded twice: a fused multiply-add rounds once."""
    step = noise.normals(0, "conv.weight", (len(SUMS),), device).mul_(-0.02)
    right = _bits(torch.full_like(step, 0.015) + step) == SUMS
    return Check(f"rounding{where}", right, "w + (σ·s)·z is rounded twice" if right else "w + (σ·s)·z has other bits")


# ---- folders


def folder_checks(path: Path, trust: bool = False) -> list[Check]:
    """Check every file of a run's or an ensemble's folder that carries a hash."""
    folder = path if (path / "genomes.json").is_file() else path / "ensemble"
    checkpoints = path / "checkpoints"
    if not folder.is_dir() and not checkpoints.is_dir():
        raise CheckpointError(f"{path}: expected the folder of a run or of an ensemble, found neither in it")
    checks = list(_ensemble(folder, trust)) if folder.is_dir() else []
    checks += CheckpointStore(checkpoints).verify()
    if (path / "population.jsonl").is_file():
        checks.append(_population(path / "population.jsonl"))
    return checks


def _try(load: Callable[[], T]) -> tuple[T | None, str]:
    """Return what `load` gives, or None and the reason."""
    try:
        return load(), ""
    except EvoensError as error:
        return None, str(error)
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        return None, f"genomes.json is no ensemble's description ({one_line(error)})"


def _ensemble(folder: Path, trust: bool) -> Iterator[Check]:
    document, why = _try(partial(ensemble_folder.read_description, folder))
    if document is None:
        yield Check("genomes.json", False, why)
        return
    _, why = _try(partial(ensemble_folder.check_description, folder, document))
    yield Check("genomes.json", not why, why or "as it was written")
    unknown, _ = _try(partial(strangers, document))
    given = GIVEN in str(document.get("architecture"))  # no name, and so no code that could be run
    known = (trust and not given) or unknown == []  # a description without a Strategy or a network may name anything
    yield from _rebuilt(folder, document) if known else _unrun(folder, document, unknown or ["its code"])


def _rebuilt(folder: Path, document: dict[str, Any]) -> Iterator[Check]:
    """Load everything; nothing is run that has changed."""
    with undisturbed():
        parent, why = _try(partial(ensemble_folder.load_parent, folder, document, Trust.PACKAGES))
        detail = why or f"file and fingerprint {document['parent']['fingerprint'][:16]}…"
        yield Check("parent", parent is not None, detail)
        strategy, why = _try(partial(ensemble_folder.load_strategy, folder, document, parent, Trust.PACKAGES))
        yield Check("strategy", strategy is not None, why or f"{document['strategy']['spec']}, its file as it was")
        if parent is not None and strategy is not None:
            rebuilt = partial(
                ensemble_folder.load_member,
                folder,
                parent=parent,
                strategy=strategy,
                tuned=ensemble_folder.trained(folder, document),
            )
            yield from _members(document, rebuilt, "rebuilt to the same bits")


def _members(document: dict[str, Any], load: Callable[[Any], object], found: str) -> Iterator[Check]:
    if not document.get("members"):
        yield Check("members", False, "genomes.json lists none")
        return
    for place, row in enumerate(document["members"]):
        _, why = _try(partial(load, row))
        yield Check(f"member {place}", not why, why or f"{row['key'][:12]}… {found}")


def _unrun(folder: Path, document: dict[str, Any], unknown: Sequence[str]) -> Iterator[Check]:
    """Check by hashes alone, and say what that leaves out."""
    given = any(name.startswith(GIVEN) for name in unknown)
    how = "load_ensemble(…, model=…)" if given else "--trust"
    left = f"not rebuilt, as that runs {' and '.join(unknown)}: {how} does"
    _, why = _try(partial(ensemble_folder.load_weights, folder, document))
    _, changed = _try(partial(known_architecture, folder, document, Trust.PACKAGES))
    why = why or changed
    yield Check("parent", not why, why or f"file and fingerprint {document['parent']['fingerprint'][:16]}…; {left}")
    _, why = _try(partial(known_strategy, folder, document, Trust.PACKAGES))
    yield Check("strategy", not why, why or f"{document['strategy']['spec']}, its file as it was")
    yield from _members(document, partial(ensemble_folder.load_genome, folder, tuned=bool(document.get("tuned"))), left)


def _population(path: Path) -> Check:
    """Each row's key must be its genome's."""
    wrong, number = [], 0
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        try:
            row = json.loads(line)
            right = Genome.from_json(row["genome"]).key == row["key"]
        except (ValueError, LookupError, TypeError, RecursionError, OverflowError, EvoensError):
            right = False
        wrong += [] if right else [number]
    detail = f"damaged lines: {', '.join(map(str, wrong))}" if wrong else f"{number} genomes, each with its key"
    return Check("population.jsonl", not wrong, detail)
