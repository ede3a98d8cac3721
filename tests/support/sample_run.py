"""A complete run folder made of invented numbers, for the tests of the report."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from PIL import Image

DIVERSITY = ("kl", "disagreement", "average", "perceptual", "difference", "wavelet", "colour")


def generation(number: int, rng: random.Random) -> dict[str, Any]:
    mean = 1.1 + 0.06 * number
    diversity = {m: {"value": 0.02 + 0.01 * number + 0.01 * rng.random(), "floor": 0.012} for m in DIVERSITY}
    return {
        "generation": number,
        "sigma": 0.0187,
        "fitness": {"best": mean + 0.7, "mean": mean, "worst": mean - 0.6, "parent": 1.08},
        "ensemble": 0.01 * number,
        "reliability": None if number == 1 else -0.1 + 0.1 * number,
        "diversity": diversity,
        "failed": 1 if number == 0 else 0,
        "evaluations": 16,
        "samples_per_second": 5321.0,
        "seconds": 61.5,
    }


def population(generations: int, rng: random.Random, size: int = 16) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for number in range(generations):
        for child in range(size):
            failed = number == 0 and child == 3
            key = f"{number:02x}{child:02x}" + "ab" * 30
            fitness = None if failed else round(rng.gauss(1.1 + 0.06 * number, 0.3), 3)
            rows.append(
                {
                    "generation": number,
                    "key": key,
                    "genome": [],
                    "status": "failed" if failed else "ok",
                    "fitness": fitness,
                }
            )
    return rows


def trust_region() -> dict[str, Any]:
    grid = (0.0025, 0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08)
    rows = [{"sigma": s, "kl": 60 * s**2, "kl_range": [48 * s**2, 75 * s**2], "agreement": 1 - 4 * s} for s in grid]
    return {"target_kl": 0.02, "sigma": 0.0183, "rows": rows}


def _stats(score: float, half: float, n: int) -> dict[str, Any]:
    return {"score": score, "ci95": [score - half, score + half], "n": n}


MEASURES = [
    {"key": "test", "label": "sampled actions", "unit": "episode return", "higher_is_better": True, "digits": 2},
    {"key": "test_greedy", "label": "greedy actions", "unit": "episode return", "higher_is_better": True, "digits": 2},
]


def report(generations: list[dict[str, Any]], members: list[str], candidates: list[dict[str, Any]]) -> dict[str, Any]:
    roles = {
        role: {
            "test": _stats(score, 0.31, n),
            "test_greedy": _stats(score - 0.217, 0.29, n),
            "test_difference": _stats(score - 2.084, 0.21, n),
            "test_greedy_difference": _stats(score - 2.084, 0.23, n),
        }
        for role, score, n in (
            ("parent", 2.084, 100),
            ("best_child", 2.141, 100),
            ("random_children", 1.976, 100),
            ("ensemble", 2.452, 100),
        )
    }
    alike = {"size": len(members), "parent": False}
    levels = {"search": 1_000_000, "select": 2_000_000, "test": 3_000_000}
    curve = [{"steps": 16384 * i, "return_mean": None if i == 1 else 0.8 + 0.01 * i} for i in range(1, 200)]
    return {
        "name": "bigfish",
        "problem": {
            "type": "procgen",
            "game": "bigfish",
            "difficulty": "easy",
            "frame_stack": 2,
            "action": "sampled",
            "levels": {},
        },
        "unit": "episode return",
        "measures": MEASURES,
        "splits": {name: {"start": start, "count": 100} for name, start in levels.items()},
        **roles,
        "random_children": {**roles["random_children"], **alike, "draws": 4, "of": "first generation"},
        "ensemble": {**roles["ensemble"], **alike, "members": members, "rule": "greedy"},
        "candidates": candidates,
        "selection_optimism": 0.4321,
        "reliability": 0.2345,
        "cost": {"evaluations": 73, "seconds": 612.4, "samples_per_second": 5321.0, "peak_rss_mb": 901.5},
        "artifact": {"bytes": 2_511_023, "replayable": len(members), "tuned": 0},
        "versions": {"python": "3.11.7", "torch": "2.15.0"},
        "verdict": "The ensemble of 8 scored 2.45 against the parent's 2.08 on 100 unseen levels.",
        "generations": len(generations),
        "trust_region": trust_region(),
        "warnings": ["Reliability is near zero in generation 1: selection picks noise."],
        "parent_card": {"command": "evoens train-parent", "steps": 3_260_416, "seconds": 5012.0, "curve": curve},
    }


def picture(path: Path, colour: tuple[int, int, int], size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def write_run(folder: Path, generations: int = 4, **changes: Any) -> dict[str, Any]:
    """Write the whole run and return its report; `changes` replace entries of the report."""
    rng = random.Random(7)
    folder.mkdir(parents=True)
    rows = [generation(n, rng) for n in range(generations)]
    children = population(generations, rng)
    ranked = sorted((c for c in children if c["fitness"] is not None), key=lambda c: -c["fitness"])
    candidates = [{"key": c["key"], "select": round(rng.gauss(1.2, 0.3), 3)} for c in ranked[:16]]
    members = [c["key"] for c in candidates[:8]]
    document = report(rows, members, candidates) | changes
    history = {
        "measures": document["measures"],
        "trust_region": trust_region(), "plan": {"batching": "loop"}, "sigma": 0.0183, "generations": rows,
        "selection": None, "warnings": document["warnings"],
    }  # fmt: skip
    (folder / "report.json").write_text(json.dumps(document))
    (folder / "history.json").write_text(json.dumps(history))
    (folder / "population.jsonl").write_text("".join(json.dumps(row) + "\n" for row in children))
    (folder / "config.resolved.yaml").write_text("name: bigfish\nseed: 0\nproblem:\n  game: bigfish\n")
    picture(folder / "pictures" / "saliency.png", (200, 30, 60), (512, 256))
    picture(folder / "pictures" / "parent.gif", (20, 20, 20), (256, 280))
    picture(folder / "pictures" / "ensemble.gif", (30, 60, 200), (256, 280))
    return document
