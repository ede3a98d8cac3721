"""A whole run on tiny frames: what the tests of the loop, and of its crashes, are made of."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tiny import CLASSES, COUNT, TinyProblem
from torch import Tensor, nn

from evoens import noise
from evoens.config.load import resolved_yaml
from evoens.experiment.run import Run
from evoens.experiment.setup import open_search
from evoens.experiment.state import Experiment
from evoens.genome import Genome
from evoens.parent import Architecture, Parent
from evoens.plugins.spec import load_class, locate
from evoens.problem import Evaluation, Split, SplitName
from evoens.report.console import Reporter
from evoens.report.listeners import standard
from evoens.settings.config import Config
from evoens.strategy import Strategy
from evoens.tasks import parse_config

FRAME, HIDDEN = (3, 4, 4), 16
TIMES = ("seconds", "samples_per_second", "peak_rss_mb")  # the only figures of a report that may differ


class FrameNet(nn.Module):
    """Bytes `(n, 3, 4, 4)` to logits, through one hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(int(np.prod(FRAME)), HIDDEN)
        self.last = nn.Linear(HIDDEN, CLASSES)

    def forward(self, frames: Tensor) -> Tensor:
        x = (frames.to(self.first.weight.dtype) - 128).flatten(1) / 64
        logits: Tensor = self.last(torch.relu(self.first(x)))
        return logits


class TinyFrames(TinyProblem):
    """TinyProblem on frames, which can be looked at; `before` is called before each evaluation."""

    def __init__(self, search: int = COUNT, before: Callable[[Split], None] = lambda _: None) -> None:
        weights = {n: 0.3 * noise.normals(7, n, w.shape) for n, w in FrameNet().state_dict().items()}
        self.parent = Parent.from_weights(Architecture("tiny_run:FrameNet"), weights)
        self.batch, self.search, self.before = 16, search, before
        grey = noise.normals(1, "frames", (3 * COUNT, *FRAME)) * 64 + 128
        self.inputs = grey.clamp(0, 255).byte()
        blurred = (grey + 48 * noise.normals(2, "blur", grey.shape)).clamp(0, 255).byte()
        self.labels = self.parent.predict(blurred).argmax(-1)

    def split(self, name: SplitName) -> Split:
        return Split(name, 0, self.search if name == "search" else COUNT)

    def pictures(self, n: int = 8) -> Tensor:
        return self.probe(n)

    def examples(self, n: int) -> tuple[Tensor, None]:
        return self.probe(n), None

    def inputs_of(self, frames: Tensor) -> Tensor:
        return frames

    def cases(self, split: Split) -> Generator[Tensor, Tensor, Evaluation]:
        self.before(split)
        return (yield from super().cases(split))


class Listener(Reporter):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.warnings: list[str] = []
        self.stages: list[str] = []

    def on_warning(self, text: str) -> None:
        self.warnings.append(text)

    def on_stage(self, text: str) -> None:
        self.stages.append(text)


def config(**sections: Any) -> Config:
    """The settings of a run of a second; `sections` go over them, key by key."""
    whole: dict[str, Any] = {
        "name": "tiny",
        "seed": 5,
        "problem": {"game": "bigfish"},
        "parent": {"checkpoint": "none"},
        "strategy": {"class": "noisy", "sigma": 0.3, "density": 0.5, "parts": 2},
        "trust_region": {"grid": (0.05, 0.1, 0.2, 0.4, 0.8), "frames": 16},
        "search": {"population": 6, "generations": 2, "elites": 2},
        "selection": {"size": 3},
        "report": {"bootstrap": 200, "random_draws": 2},
    }
    for name, value in sections.items():
        whole[name] = {**whole.get(name, {}), **value} if isinstance(value, Mapping) else value
    return parse_config(whole)


def experiment(settings: Config, problem: TinyProblem | None = None, spec: str = "noisy", **more: Any) -> Experiment:
    """Put a run together by hand, with a Strategy by its `spec`; `more` are arguments of its own."""
    source = locate(spec)
    sigma = settings.strategy.sigma
    cls: type[Strategy] = load_class(source, Strategy)
    scale = {"sigma": 1.0 if sigma == "auto" else sigma} if cls.scaled else {}
    arguments = {**scale, "density": 0.5, "parts": 2, **more}
    strategy = cls(**arguments)
    resolved = resolved_yaml(settings, Path())
    found = Experiment(settings, resolved, problem or TinyFrames(), strategy, source, arguments, {}, {})
    search, own = open_search(settings, Path())
    return replace(found, search=search, search_source=own)


def execute(folder: Path, settings: Config | None = None, *, force: bool = False, **of: Any) -> tuple[Run, Listener]:
    """Run, or go on, in `folder`; `of` goes to `experiment`."""
    listener = Listener()
    run = Run(experiment(settings or config(), **of), folder, standard(listener), force)
    run.execute()
    return run, listener


def timeless(value: Any) -> Any:
    """The same without the figures that a clock or the memory decides."""
    if isinstance(value, dict):
        return {k: timeless(v) for k, v in value.items() if k not in TIMES}
    return [timeless(v) for v in value] if isinstance(value, list) else value


def right_answers(problem: TinyFrames, genome: Genome, split: Split) -> npt.NDArray[np.float64]:
    """An oracle of our own: which cases a child gets right, from its genome, in NumPy and float64."""
    first = {"search": 0, "select": COUNT, "test": 2 * COUNT}[split.name] + split.first
    weights = {name: w.numpy().astype(np.float64) for name, w in problem.parent.weights.items()}
    for name in ("first.weight", "last.weight"):
        for gene in genome.genes:
            shape = weights[name].shape
            assert gene.mask is not None
            kept = noise.keep(gene.mask, name, shape).numpy()
            step = gene.sign * gene.scale * noise.normals(gene.seed, name, shape).numpy().astype(np.float64)
            weights[name] = weights[name] + kept * step
    x = (problem.inputs[first : first + split.count].numpy().astype(np.float64).reshape(split.count, -1) - 128) / 64
    hidden = np.maximum(x @ weights["first.weight"].T + weights["first.bias"], 0)
    logits = hidden @ weights["last.weight"].T + weights["last.bias"]
    right = logits.argmax(1) == problem.labels[first : first + split.count].numpy()
    return np.asarray(right, dtype=np.float64)
