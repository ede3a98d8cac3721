"""What the machine and the libraries are, as far as a result may hang on them."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from evoens.machine.threads import ROUNDING

PACKAGES = (
    *("evoens", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "pillow", "procgen-mirror", "procgen"),
    *("stable-baselines3", "imagehash", "pydantic"),
)


def versions() -> dict[str, str]:
    """Return the versions of what a run rests on."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str]:
    """Return what of the machine decides bits."""
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    rounding = os.environ.get(ROUNDING, "")
    return {"cpu": torch.backends.cpu.get_cpu_capability(), "device": device, ROUNDING: rounding}


def environment() -> dict[str, Any]:
    """Return what the machine and the libraries are, for environment.json."""
    return {
        "versions": versions(),
        "system": platform.system(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "cuda": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as lines:  # noqa: PTH123 (a kernel file, read line by line)
            names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()
