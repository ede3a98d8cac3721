"""What a run takes in seconds and gigabytes, from one pass of its network through some of its inputs, here and now."""

from __future__ import annotations

import contextlib
import copy
import math
import resource
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor, nn

from evoens.commands.estimate import stages
from evoens.commands.session import said_by
from evoens.config.load import Loaded, build, prepared
from evoens.errors import ProblemError
from evoens.evaluation.memory import GIGABYTE, machine, nbytes
from evoens.experiment.preflight import preflight
from evoens.experiment.sigma_search import EFFORT, frames
from evoens.graph.flops import flops
from evoens.machine.threads import lanes
from evoens.network.inputs import Inputs, count, several, shape_of
from evoens.parent import Parent
from evoens.problem import FixedInputs, Problem, SplitName
from evoens.report.console import Reporter
from evoens.scoring.text import duration
from evoens.settings.classification import DATASETS, ClassificationConfig
from evoens.storage.card import TORCHVISION, find_parent
from evoens.tasks.data.layout import data_root
from evoens.tasks.data.sources import OWN
from evoens.tasks.networks.catalogue import architecture

INPUTS = 4  # that take the pass
FRAMES = 64  # that do, where games are played many at a time
CLASSES, COLOURS = 10, 3  # of a network that only shows what it takes, where the data would tell
COPIES = 2  # of each member: one that predicts, one that is looked into


class NotMeasured(ProblemError):  # noqa: N818 (nothing has gone wrong)
    """Nothing is known to be wrong, and nothing of what a run would take."""


def measured(loaded: Loaded, found: Mapping[str, Any], folder: Path, retrain: bool) -> dict[str, Any]:
    """Return what `one_pass` tells, or why nothing is known."""
    try:
        return one_pass(loaded, found, folder, retrain)
    except NotMeasured as error:
        return {"not measured": str(error)}


def one_pass(
    loaded: Loaded, found: Mapping[str, Any], folder: Path = Path("runs"), retrain: bool = False
) -> dict[str, Any]:
    """Return `seconds` and `gigabytes` of the run, and of one input's pass `seconds_a_pass`.

    Training is left out, but for that of a policy that is trained first, `parent_seconds`; and so is what children save
    by sharing what comes before the layers that they touch.

    Args:
        loaded: the checked YAML.
        found: what is known already: of games `passes`, where the parent's card tells how long they last, and
            `training_passes` of a parent that is trained first.
        folder: of the run; nothing is written there.
        retrain: the parent is to be trained anew.

    Raises:
        NotMeasured: the data would have to be downloaded, or the pass is too much for a dry run.
        EvoensError: the run could not begin.
    """
    config = loaded.config
    _downloads_nothing(loaded)
    _takes_little(loaded)
    parent, problem = _begun(loaded, folder, retrain)
    seconds, widest = _pass(parent.module, problem.probe(INPUTS if isinstance(problem, FixedInputs) else FRAMES))
    passes, batch = found.get("passes"), INPUTS
    if isinstance(problem, FixedInputs):
        search = config.trust_region
        counts: dict[str, int] = {name: problem.split(name).count for name in get_args(SplitName)}
        counts["so far"] = counts["search"]
        passes = sum(children * counts[split] * members for children, split, members in stages(config).values())
        if config.strategy.sigma == "auto":
            passes += len(search.grid) * search.children * frames(search, parent, shape_of(problem.probe(1)))
        batch = count(next(problem.batches(problem.split("search"))))
    members = COPIES * config.selection.size
    side_by_side = lanes(torch.device("cpu"))
    taken = nbytes(parent.module) * (1 + side_by_side + members) + side_by_side * widest * batch
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    counted = {"seconds": passes, "parent_seconds": found.get("training_passes")}
    own = {name: round(seconds * number) for name, number in counted.items() if number}
    return {"seconds_a_pass": round(seconds, 6), **own, "gigabytes": round((peak + taken) / GIGABYTE, 2)}


def _begun(loaded: Loaded, folder: Path, retrain: bool) -> tuple[Parent, Problem]:
    """Do all that a run does before it trains or measures anything, but for downloading torchvision's weights."""
    path = find_parent(loaded.config.parent.checkpoint, loaded.base)
    with Reporter(quiet=True) as reporter, said_by(reporter):
        if retrain or path is None or str(path).startswith(TORCHVISION):
            task, parent = prepared(loaded, reporter)
            return parent, task.problem(parent)
        run = build(loaded, folder, reporter)
        preflight(run.experiment, run.journal)
        return run.experiment.problem.parent, run.experiment.problem


def _takes_little(loaded: Loaded) -> None:
    """Let a dry run try no pass through images of a size that takes the machine's memory, or minutes."""
    config = loaded.config
    if not isinstance(config, ClassificationConfig) or config.problem.image_size is None:
        return
    side = config.problem.image_size
    shape = (config.problem.channels or COLOURS, side, side)
    taken, work = 4 * math.prod(shape), 0
    with contextlib.suppress(Exception), torch.device("meta"):  # whatever a user's network does without numbers
        folders = [loaded.base, Path.cwd()]
        network = architecture(config.parent.network, CLASSES, shape, config.parent.arguments, folders).build().eval()
        taken += _widest(network, torch.empty(1, *shape))
        work = flops(network, shape)
    if INPUTS * taken > machine():
        raise NotMeasured(f"one pass would take about {INPUTS * taken / GIGABYTE:.0f} GB")
    if INPUTS * work > EFFORT:
        raise NotMeasured(f"one pass would take about {duration(60 * INPUTS * work / EFFORT)}")


def _downloads_nothing(loaded: Loaded) -> None:
    """Let a dry run fetch no images; ImageNet's are never fetched."""
    config = loaded.config
    if not isinstance(config, ClassificationConfig) or config.problem.data not in {*DATASETS} - {*OWN, "ImageNet"}:
        return
    root, name = data_root(config.data.root, loaded.base), config.problem.data.lower()
    there = [path.name.replace("-", "").lower() for path in root.iterdir()] if root.is_dir() else []
    if not any(name in found for found in there):
        raise NotMeasured(f"{root}: found no {config.problem.data}, which a dry run does not download")


def _pass(module: nn.Module, inputs: Inputs) -> tuple[float, int]:
    """Return the seconds that one of the inputs takes, and the bytes of its widest layer, before and after."""
    tried = copy.deepcopy(module).eval().to(memory_format=torch.channels_last)
    with torch.inference_mode():
        widest = _widest(tried, inputs)  # compiles kernels, too
        began = time.perf_counter()
        tried(*several(inputs))
    return (time.perf_counter() - began) / count(inputs), widest


def _widest(module: nn.Module, inputs: Inputs) -> int:
    """Return the bytes of one input's widest layer, before and after."""
    widest = 0

    def look(_: nn.Module, given: tuple[Any, ...], gave: Any) -> None:
        """Note what goes in and out of a layer."""
        nonlocal widest
        widest = max(widest, sum(part.nbytes for part in (*given, gave) if isinstance(part, Tensor)))

    handles = [layer.register_forward_hook(look) for layer in module.modules()]
    module(*several(inputs))
    for handle in handles:
        handle.remove()
    return widest // count(inputs)
