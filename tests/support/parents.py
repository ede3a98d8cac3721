"""Parents on disk: invented weights and a card that fits, for tests that never load them, or real ones; and a YAML."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

GOOD = """\
name: x
problem:
  game: bigfish
parent:
  checkpoint: parent.safetensors
strategy:
  class: noisy
search:
  population: 16
"""


def write_policy(path: Path) -> Path:
    """Write a policy that can be loaded and played, and its card."""
    from safetensors.torch import save  # not for the tests of commands that import nothing heavy

    from evoens.tasks.networks.impala import ImpalaPolicy

    arguments = {"widths": [4, 4, 4], "in_channels": 6}
    architecture = {"target": "evoens.tasks.networks.impala:ImpalaPolicy", "arguments": arguments}
    return write_parent(path, save(ImpalaPolicy(**arguments).state_dict()), architecture=architecture)


def write_parent(path: Path, data: bytes | None = None, **card: Any) -> Path:
    """Write `path` and its card; `card` replaces entries of it, an entry that is None goes."""
    header = json.dumps({"trunk.linear.weight": {"dtype": "F32", "shape": [15, 4], "data_offsets": [0, 240]}}).encode()
    data = data or len(header).to_bytes(8, "little") + header + bytes(240)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    entries = {
        "architecture": {"target": "evoens.tasks.networks.impala:ImpalaPolicy", "arguments": {}},
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "game": "bigfish",
        "difficulty": "easy",
        "frame_stack": 2,
        "network": [16, 32, 32],
        "levels": {"start": 0, "count": 100_000},
        "steps": 1_000_000,
        "seconds": 1000.0,
        "ppo": {"epochs": 1},
        "curve": [{"length_mean": None}, {"length_mean": 250.0}],
        **card,
    }
    kept = {key: value for key, value in entries.items() if value is not None}
    path.with_suffix(".json").write_text(json.dumps(kept))
    return path
