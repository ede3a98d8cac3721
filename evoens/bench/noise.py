"""How fast the portable noise is drawn, on one thread, against `torch.randn`."""

from __future__ import annotations

import statistics
from typing import Any

import torch

from evoens import noise
from evoens.bench.common import one_thread, thread_seconds
from evoens.machine.environment import environment

TARGET = 2.5


def measure(values: int = 1 << 22, rounds: int = 15) -> dict[str, Any]:
    """Draw `values` normals each way, the ways taking turns, every time into a tensor of its own.

    Times are of the thread's own processor time, so that other work on the machine counts as little as it can.

    Args:
        values: how many a draw.
        rounds: of both ways; the speed-up is the median of the rounds' ratios.

    Returns:
        speedup_vs_randn, normals_per_second and randn_per_second (medians), and what they rest on: the way of drawing,
        values, rounds, threads, cpu, versions.
    """
    with one_thread():
        times = [_round(seed, values) for seed in range(rounds + 1)][1:]  # the first takes memory and builds the table
    found = environment()
    return {
        "speedup_vs_randn": statistics.median(randn / normals for normals, randn in times),
        "normals_per_second": values / statistics.median(normals for normals, _ in times),
        "randn_per_second": values / statistics.median(randn for _, randn in times),
        "drawn": "C" if noise.compiled() else "NumPy",
        "values": values,
        "rounds": rounds,
        "threads": 1,
        "cpu": found["processor"],
        "versions": {name: found["versions"][name] for name in ("torch", "numpy")},
    }


def _round(seed: int, values: int) -> tuple[float, float]:
    """Return the seconds of one draw each way."""
    return thread_seconds(lambda: noise.normals(seed, "weight", (values,))), thread_seconds(lambda: torch.randn(values))


def describe(result: dict[str, Any]) -> str:
    """Return the result as lines for the terminal."""
    how = "in C" if result["drawn"] == "C" else "through NumPy: streams.c was not built"
    return (
        f"{result['cpu']}, one thread, {result['values']:,} values a draw, median of {result['rounds']} rounds\n"
        f"evoens.noise.normals  {result['normals_per_second'] / 1e6:6.0f} million a second ({how})\n"
        f"torch.randn           {result['randn_per_second'] / 1e6:6.0f} million a second\n"
        f"speed-up              {result['speedup_vs_randn']:6.2f} × (target ≥ {TARGET} ×)"
    )
