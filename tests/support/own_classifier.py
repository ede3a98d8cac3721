"""A user's own classifier in a folder: its code, its state dict, images in class folders, and the YAML that names them.

The images are noise of 8 × 8 pixels in which one channel is a little brighter: blue, green or red.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy

CLASSES, SIDE, EACH = ("blue", "green", "red"), 8, 40
MODEL = """\
from torch import nn


class Net(nn.Module):
    def __init__(self, classes, width):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width)
        self.fc = nn.Linear(width, classes)

    def forward(self, x):
        return self.fc(self.bn(self.conv(x)).relu().mean((2, 3)))


def build(classes=3, width=6):
    return Net(classes, width)


number = 3


def wrong():
    return number
"""
YAML = """\
name: own
problem:
  type: classification
  data: images
  normalise: {mean: [0.5, 0.5, 0.5], std: [0.25, 0.25, 0.25]}
  splits:
    search: {from: train, count: 30}
    select: {from: train, count: 30}
    test: {from: train, count: 30}
parent:
  network: model.py:build
  checkpoint: weights.pt
strategy:
  class: noisy
  sigma: 0.2
search: {population: 4, generations: 1, elites: 2}
selection: {size: 2}
report: {random_draws: 2, bootstrap: 100}
"""


def pictures(each: int = EACH, seed: int = 0) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Images `(n, 8, 8, 3)` and their classes `(n,)`, class after class."""
    labels = np.repeat(np.arange(len(CLASSES)), each)
    noise = np.random.default_rng(seed).integers(0, 236, (len(labels), SIDE, SIDE, 3))
    noise[np.arange(len(labels)), :, :, 2 - labels] += 20
    return noise.astype(np.uint8), labels


def write_images(folder: Path, each: int = EACH) -> Path:
    """Write the images as an ImageFolder."""
    images, labels = pictures(each)
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
    for number, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(folder / CLASSES[label] / f"{number:04d}.png")
    return folder


@cache
def state_dict() -> dict[str, Tensor]:
    """The network after a short training of the user's own, on other images."""
    source: dict[str, Any] = {}
    exec(MODEL, source)
    images, labels = pictures(100, seed=1)
    inputs = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = source["build"]()
    for _ in range(60):
        loss = cross_entropy(module(inputs), torch.from_numpy(labels))
        weights = list(module.parameters())
        for weight, gradient in zip(weights, torch.autograd.grad(loss, weights), strict=True):
            weight.data -= gradient
    found: dict[str, Tensor] = module.eval().state_dict()
    return found


def write_own(folder: Path) -> Path:
    """Write everything into `folder`, and return the YAML's path."""
    write_images(folder / "images")
    (folder / "model.py").write_text(MODEL)
    torch.save(state_dict(), folder / "weights.pt")
    (folder / "own.yaml").write_text(YAML)
    return folder / "own.yaml"
