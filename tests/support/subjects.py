"""Subjects small enough for every test: children of a tiny convolutional network, on pictures with classes."""

from __future__ import annotations

import torch
from tiny import TinyProblem
from torch import Tensor, nn

from evoens import noise
from evoens.analysis.subject import Subject
from evoens.parent import Architecture, Parent

SIDE, COUNT, CLASSES = 12, 48, 4


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=2)
        self.norm = nn.BatchNorm2d(5)
        self.last = nn.Linear(5 * 25, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.last(torch.relu(self.norm(self.conv(x))).flatten(1))
        return logits


def weights(move: float = 0.0, seed: int = 0) -> dict[str, Tensor]:
    own = {}
    for name, weight in Net().state_dict().items():
        if weight.dim() < 2:
            own[name] = torch.zeros_like(weight) if name.endswith("bias") else weight
        else:
            own[name] = 0.4 * noise.normals(7, name, weight.shape) + move * noise.normals(seed, name, weight.shape)
    return own


class Pictures(TinyProblem):
    """Smooth pictures; their classes are the parent's answers, each tenth another."""

    def __init__(self, labelled: bool = True) -> None:
        self.parent = Parent.from_weights(Architecture("subjects:Net"), weights())
        coarse = noise.normals(3, "pictures", (COUNT, 3, 4, 4)) * 60 + 128
        self.frames = nn.functional.interpolate(coarse.clamp(0, 255), SIDE, mode="bilinear").byte()
        labels = self.parent.predict(self.inputs_of(self.frames.float())).argmax(-1)
        labels[::10] = (labels[::10] + 1) % CLASSES
        self.labels = labels if labelled else None

    def inputs_of(self, frames: Tensor) -> Tensor:
        return (frames - 128) / 64

    def pictures(self, n: int = 8) -> Tensor:
        return self.frames[:n]

    def examples(self, n: int) -> tuple[Tensor, Tensor | None]:
        return self.frames[:n], None if self.labels is None else self.labels[:n]


def subject(*, members: int = 3, labelled: bool = True, parent: bool = True, move: float = 0.1) -> Subject:
    problem = Pictures(labelled)
    modules = [problem.parent.child(weights(move, seed + 1)).module for seed in range(members)]
    names = tuple(f"member {i + 1}" for i in range(members))
    return Subject(problem, names, tuple(modules), problem.parent.module if parent else None, seed=5)
