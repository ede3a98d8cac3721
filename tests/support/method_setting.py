"""What a Method is given in tests: digits, a small network, a budget of some epochs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from evoens.methods.setting import Setting
from evoens.tasks import open_task, parse_config


def setting(folder: Path, epochs: int = 4, *, seed: int = 0, **parent: Any) -> Setting:
    """Return a setting whose trainings lie in `folder`; `parent` is over the YAML's section."""
    train = {"epochs": epochs, "batch": 16, "learning_rate": 0.01, "precision": "float32", **parent.pop("train", {})}
    cuts = {"train": 120, "search": 60, "select": 120, "test": 300}
    config = parse_config(
        {
            "name": "x",
            "seed": seed,
            "problem": {
                "type": "classification",
                "data": "digits",
                "splits": {name: {"from": "train", "count": count} for name, count in cuts.items()},
            },
            "parent": {
                "checkpoint": "x.safetensors",
                "network": "mlp",
                "arguments": {"hidden": (16,)},
                "train": train,
                **parent,
            },
            "strategy": {"class": "noisy"},
        }
    )
    task: Any = open_task(config, Path())
    problem = task.problem(task.untrained())
    cpu = torch.device("cpu")
    return Setting(problem=problem, config=config, device=cpu, task=task, epochs=epochs, trainings=folder)
