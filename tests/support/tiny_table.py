"""A table of a few seconds: a small network on some digits, in a folder of the test's own."""

from __future__ import annotations

from pathlib import Path

TABLE = """\
name: tiny
seeds: [0, 1]
budget: {epochs: 4}
problem:
  type: classification
  data: digits
  splits:
    train: {from: train, count: 120}
    search: {from: train, count: 60}
    select: {from: train, count: 120}
    test: {from: train, count: 300}
parent:
  network: mlp
  arguments: {hidden: [16]}
  train: {batch: 16, learning_rate: 0.01}
search: {population: 2, generations: 1, elites: 0}
trust_region: {frames: 16, children: 2, grid: [0.02, 0.04]}
report: {bootstrap: 100, random_draws: 1}
evaluation: {precision: float32}
"""
METHODS = """\
methods:
  single: {}
  bagging: {members: 2}
  snapshot: {cycles: 2}
  sparse: {tune: {epochs: 1, batch: 16}}
"""


def written(folder: Path, methods: str = METHODS, table: str = TABLE) -> str:
    """Write a table's YAML, and return its path."""
    path = folder / "tiny.yaml"
    path.write_text(table + methods)
    return str(path)
