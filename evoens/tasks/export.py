"""A training's newest checkpoint as a parent to share: the file of its weights and its card beside it."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from evoens.errors import CheckpointError
from evoens.storage.card import parent_files
from evoens.storage.checkpoint import Checkpoint, CheckpointStore
from evoens.storage.files import write_atomic


def newest(folder: Path) -> Checkpoint:
    """Return the newest intact checkpoint of a training, finished or not, running or not.

    Raises:
        CheckpointError: `folder` has no intact checkpoint.
    """
    saved, skipped = CheckpointStore(folder / "checkpoints").latest()
    if saved is None:
        raise CheckpointError("\n".join([f"{folder}: expected a training with a checkpoint, found none", *skipped]))
    for sentence in skipped:
        warnings.warn(sentence, stacklevel=3)
    return saved


def write_parent(path: Path, weights: Mapping[str, Tensor], card: Mapping[str, Any]) -> Path:
    """Write a parent's two files.

    Args:
        path: with or without one of the two endings; its folder is made when missing.
        weights: the network's state dict.
        card: what to say of it, JSON; the number of weights, bytes and sha256 of their file are added.

    Returns:
        The file of the weights.
    """
    weights_file, card_file = parent_files(path)
    data = save({name: weight.detach().contiguous() for name, weight in weights.items()})
    count = sum(weight.numel() for weight in weights.values())
    card = {**card, "weights": count, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    weights_file.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(weights_file, data)
    write_atomic(card_file, json.dumps(card, indent=1, ensure_ascii=False) + "\n")
    return weights_file
